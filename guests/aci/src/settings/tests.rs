//! Settings as operators write them, with an environment and files that are the tests' own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

mod files;
mod precedence;
mod refused;

/// Variables and files by name.
#[derive(Default)]
pub(super) struct Fake {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn file(&self, path: &str, purpose: &str) -> Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| Error::invalid(format!("{purpose}: cannot read {path:?}")))
    }
}

impl Fake {
    /// With nothing but who it is.
    pub(super) fn principal() -> Self {
        Self::default()
            .variable("AZURE_SUBSCRIPTION_ID", "sub")
            .variable("AZURE_TENANT_ID", "ten")
            .variable("AZURE_CLIENT_ID", "cli")
            .variable("AZURE_CLIENT_SECRET", "hunter2")
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }

    pub(super) fn json(self, path: &str, content: &Value) -> Self {
        self.file(path, content.to_string())
    }

    /// Reads a configuration file with a region and a resource group besides what is given.
    pub(super) fn read(&self, keys: Value) -> Result<Settings> {
        let mut all = json!({"Region": "westeurope", "ResourceGroup": "rg"});
        if let (Value::Object(all), Value::Object(keys)) = (&mut all, keys) {
            all.extend(keys);
        }
        self.read_bare(None, all)
    }

    pub(super) fn read_bare(&self, operating_system: Option<OperatingSystem>, keys: Value) -> Result<Settings> {
        Settings::read_in(&startup(operating_system, &keys), self)
    }
}

fn startup(operating_system: Option<OperatingSystem>, keys: &Value) -> Startup {
    Startup { owner: "own".into(), node_name: "node".into(), operating_system, settings: keys.to_string() }
}

#[test]
fn what_is_not_set_has_its_default() {
    let settings = Fake::principal().read(json!({})).unwrap();
    assert_eq!((settings.owner.as_str(), settings.node_name.as_str()), ("own", "node"));
    assert_eq!(settings.operating_system, OperatingSystem::Linux);
    assert_eq!((settings.subscription.as_str(), settings.resource_group.as_str()), ("sub", "rg"));
    let Capacity { cpu, memory, pods, gpu } = &settings.capacity;
    assert_eq!((cpu.as_str(), memory.as_str(), pods.as_str(), gpu), ("10000", "4Ti", "5000", &None));
    assert_eq!(settings.endpoints.directory, "https://login.microsoftonline.com");
    assert_eq!(settings.endpoints.resource_manager, "https://management.azure.com");
    assert_eq!(settings.endpoints.metadata, "http://169.254.169.254");
    assert_eq!(settings.endpoints.realtime, "http://{ip}:18899");
    assert!(settings.network.is_none() && settings.log_analytics.is_none() && settings.gpu_skus.is_empty());
    assert!(settings.public_ip && !settings.realtime_metrics && !settings.monitor_metrics);
    assert_eq!(settings.api_version, "2023-05-01");
    assert!(settings.user_agent.starts_with("vk-host-aci/"));
}

#[test]
fn every_key_of_the_file_is_read() {
    let keys = json!({
        "Region": "West US", "ResourceGroup": "g", "OperatingSystem": "Windows", "CPU": 100, "Memory": "100Gi", "Pods": "50",
        "GPU": 2, "GPUSKUs": ["V100"], "SubscriptionID": "s", "TenantID": "t", "UserIdentityClientID": "u",
        "TokenVersion": "v1", "Cloud": "AzureChinaCloud", "MetadataEndpoint": "http://127.0.0.1:7/",
        "RealtimeEndpoint": "http://127.0.0.1:8/{ip}", "APIVersion": "2025-09-01", "ExtraUserAgent": "mine",
        "VNetSubscriptionID": "vs", "VNetResourceGroup": "vg", "VNetName": "v", "SubnetName": "n", "SubnetCIDR": "10.0.0.0/8",
        "KubeDNSIP": "10.1.1.1", "ClusterDomain": "corp", "PublicIP": false, "RealtimeMetrics": true, "MonitorMetrics": true,
    });
    let settings = Fake::default().read_bare(None, keys).unwrap();
    assert_eq!((settings.region.as_str(), settings.resource_group.as_str()), ("West US", "g"));
    assert_eq!((settings.operating_system, settings.subscription.as_str()), (OperatingSystem::Windows, "s"));
    let Capacity { cpu, memory, pods, gpu } = &settings.capacity;
    assert_eq!((cpu.as_str(), memory.as_str(), pods.as_str(), gpu.as_deref()), ("100", "100Gi", "50", Some("2")));
    assert_eq!(settings.gpu_skus, ["V100"]);
    assert!(matches!(&settings.identity, Identity::Managed { client_id: Some(id) } if id == "u"));
    assert_eq!(settings.endpoints.directory, "https://login.chinacloudapi.cn");
    assert_eq!(settings.endpoints.resource_manager, "https://management.chinacloudapi.cn");
    assert_eq!(settings.endpoints.metadata, "http://127.0.0.1:7");
    assert_eq!(settings.endpoints.realtime, "http://127.0.0.1:8/{ip}");
    assert_eq!(settings.api_version, "2025-09-01");
    assert!(settings.user_agent.ends_with(" mine"));
    assert!(!settings.public_ip && settings.realtime_metrics && settings.monitor_metrics);
    let Network { subscription, resource_group, vnet, subnet, cidr, dns, cluster_domain } = settings.network.unwrap();
    let names = [subscription, resource_group, vnet, subnet, cidr.unwrap(), dns.unwrap(), cluster_domain];
    assert_eq!(names, ["vs", "vg", "v", "n", "10.0.0.0/8", "10.1.1.1", "corp"]);
}

#[test]
fn secrets_are_not_printed() {
    let fake = Fake::principal().variable("LOG_ANALYTICS_ID", "w").variable("LOG_ANALYTICS_KEY", "hunter3");
    let printed = format!("{:?}", fake.read(json!({})).unwrap());
    assert!(!printed.contains("hunter"), "{printed}");
}

#[test]
fn an_unknown_region_is_warned_of_once_and_taken() {
    vk_sdk::testing::serve(|_| vk_sdk::testing::Response::new(404));
    for _ in 0..2 {
        assert_eq!(Fake::principal().read(json!({"Region": "atlantis"})).unwrap().region, "atlantis");
        assert_eq!(Fake::principal().read(json!({"Region": "West Europe"})).unwrap().region, "West Europe");
    }
    let lines = vk_sdk::testing::lines();
    assert!(matches!(&lines[..], [(vk_sdk::log::Level::Warn, line)] if line.contains("region=atlantis")), "{lines:?}");
}
