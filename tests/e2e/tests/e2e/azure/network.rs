//! How pods are reached: public addresses with names, or a private subnet.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vk_azure::{Options, Route, Subnet};
use vk_e2e::{AzureSetup, Env};

use super::properties;

pub(crate) async fn ports_get_a_public_address_with_a_name(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let ports = json!([{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]);
    let web = env.pod("web").container(json!({"ports": ports}));
    env.create(web.annotation("virtual-kubelet.io/dnsnamelabel", "shop-front")).await?;
    let pod = env.pod_ready("web").await?;
    let group = azure.group_of(&pod)?;
    let address = &properties(&group)["ipAddress"];
    ensure!(address["type"] == "Public" && address["fqdn"] == "shop-front.westeurope.azurecontainer.io", "{address}");
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
    ensure!(address["ports"] == ports, "{address}");
    let ip = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
    ensure!(address["ip"] == ip, "the pod's address is {ip}, the group's {address}");
    let shown = env.kubectl(&["get", "pod", "web", "-o", "wide"]).await?;
    ensure!(shown.contains(&ip), "{shown}");

    // Who does not want to be reached says so.
    let quiet = env.pod("quiet").container(json!({"ports": [{"containerPort": 80}]}));
    env.create(quiet.annotation("virtual-kubelet.io/public-ip", "false")).await?;
    let group = azure.group_of(&env.pod_ready("quiet").await?)?;
    ensure!(properties(&group)["ipAddress"]["type"] != "Public", "{}", properties(&group)["ipAddress"]);
    Ok(())
}

/// A subnet's id.
fn subnet(options: &Options, name: &str) -> String {
    let Options { subscription, .. } = options;
    format!(
        "/subscriptions/{subscription}/resourceGroups/net-rg/providers/Microsoft.Network/virtualNetworks/net/subnets/{name}"
    )
}

pub(super) fn in_subnet(name: &str, there: Option<Value>) -> AzureSetup {
    let setup = AzureSetup::default()
        .azure(|options| {
            options.resource_groups.push("net-rg".to_owned());
            let id = subnet(options, name);
            options.subnets.extend(there.map(|properties| Subnet { id, properties }));
        })
        .variable("ACI_VNET_NAME", "net")
        .variable("ACI_VNET_RESOURCE_GROUP", "net-rg")
        .variable("ACI_SUBNET_NAME", name);
    setup.variable("KUBE_DNS_IP", "10.0.0.10")
}

pub(crate) async fn pods_in_a_private_subnet_have_private_addresses_and_the_clusters_names(
    env: &mut Env,
) -> Result<()> {
    let azure = env.start_azure(in_subnet("pods", Some(json!({"addressPrefix": "10.241.0.0/16"})))).await?;
    env.create(env.pod("inside").container(json!({"ports": [{"containerPort": 80}]}))).await?;
    let pod = env.pod_ready("inside").await?;
    let group = azure.group_of(&pod)?;
    let properties = properties(&group);
    let id = properties["subnetIds"][0]["id"].as_str().unwrap_or_default();
    ensure!(
        id.ends_with("/resourceGroups/net-rg/providers/Microsoft.Network/virtualNetworks/net/subnets/pods"),
        "{id}"
    );
    ensure!(properties["ipAddress"]["type"] != "Public", "{properties}");
    let ip = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
    ensure!(ip.starts_with("10.241."), "its address is {ip}");
    let dns = &properties["dnsConfig"];
    ensure!(dns["nameServers"] == json!(["10.0.0.10"]), "{dns}");
    let searches = format!("{}.svc.cluster.local svc.cluster.local cluster.local", env.namespace);
    ensure!(dns["searchDomains"] == searches, "{dns}");
    // It was there, and has been delegated to container groups, once.
    ensure!(azure.count(Route::PutSubnet) == 1, "{} changes of the subnet", azure.count(Route::PutSubnet));
    Ok(())
}

pub(crate) async fn a_subnet_that_is_missing_is_made_if_its_range_is_given(env: &mut Env) -> Result<()> {
    let setup = in_subnet("new", None).variable("ACI_SUBNET_CIDR", "10.241.0.0/24");
    let azure = env.start_azure(setup).await?;
    env.create(env.pod("inside")).await?;
    env.pod_ready("inside").await?;
    let made = azure.simulator.requests().into_iter().find(|request| request.route == Route::PutSubnet);
    let made = made.context("no subnet was made")?.body;
    ensure!(made["properties"]["addressPrefix"] == "10.241.0.0/24", "{made}");
    let delegation = &made["properties"]["delegations"][0]["properties"]["serviceName"];
    ensure!(delegation == "Microsoft.ContainerInstance/containerGroups", "{made}");
    Ok(())
}

pub(crate) async fn a_subnet_that_cannot_be_used_is_named(env: &mut Env) -> Result<()> {
    env.prepare_azure(in_subnet("none", None)).await?;
    let ended = env.bench.run_command(env.command()).await?;
    let error = ended.error()?;
    for part in ["subnet none", "net-rg", "ACI_SUBNET_CIDR"] {
        ensure!(error.contains(part), "{part:?} is not in: {error}");
    }
    Ok(())
}
