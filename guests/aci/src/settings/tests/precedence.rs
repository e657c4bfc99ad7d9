//! What wins over what.

use super::*;

fn aks() -> Value {
    json!({
        "cloud": "AzureUSGovernmentCloud", "tenantId": "aks-ten", "subscriptionId": "aks-sub", "aadClientId": "aks-cli",
        "aadClientSecret": "aks-secret", "resourceGroup": "aks-rg", "location": "usgovvirginia", "vnetName": "aks-vnet",
        "vnetResourceGroup": "aks-vnet-rg", "userAssignedIdentityID": "aks-user", "subnetName": "ignored",
        "cloudProviderBackoff": true,
    })
}

fn principal() -> Value {
    json!({
        "clientId": "file-cli", "clientSecret": "file-secret", "subscriptionId": "file-sub", "tenantId": "file-ten",
        "activeDirectoryEndpointUrl": "https://login.corp/", "resourceManagerEndpointUrl": "https://arm.corp:8443/",
    })
}

/// Tenant, client and secret.
fn who(settings: &Settings) -> (&str, &str, &str) {
    match &settings.identity {
        Identity::ServicePrincipal { tenant, client_id, secret, .. } => (tenant, client_id, &secret.0),
        Identity::Managed { .. } => panic!("a managed identity"),
    }
}

#[test]
fn group_and_region_are_those_of_the_environment_then_of_aks_then_of_the_file() {
    let keys = || json!({"Region": "westeurope", "ResourceGroup": "toml-rg"});
    let mut fake = Fake::principal();
    let settings = fake.read_bare(None, keys()).unwrap();
    assert_eq!((settings.resource_group.as_str(), settings.region.as_str()), ("toml-rg", "westeurope"));
    fake = fake.json("/aks", &aks()).variable("AKS_CREDENTIAL_LOCATION", "/aks");
    let settings = fake.read_bare(None, keys()).unwrap();
    assert_eq!((settings.resource_group.as_str(), settings.region.as_str()), ("aks-rg", "usgovvirginia"));
    fake = fake.variable("ACI_RESOURCE_GROUP", "env-rg").variable("ACI_REGION", "eastus");
    let settings = fake.read_bare(None, keys()).unwrap();
    assert_eq!((settings.resource_group.as_str(), settings.region.as_str()), ("env-rg", "eastus"));
}

#[test]
fn credentials_are_those_of_the_environment_field_by_field_then_of_one_file() {
    let mut fake = Fake::default().json("/file", &principal()).variable("AZURE_AUTH_LOCATION", "/file");
    let keys = || json!({"SubscriptionID": "toml-sub", "TenantID": "toml-ten", "ClientID": "toml-cli"});
    let settings = fake.read(keys()).unwrap();
    assert_eq!(settings.subscription, "file-sub");
    assert_eq!(who(&settings), ("file-ten", "file-cli", "file-secret"));
    for variable in ["ACS_CREDENTIAL_LOCATION", "AKS_CREDENTIAL_LOCATION"] {
        let mut fake = Fake::default().json("/file", &principal()).variable("AZURE_AUTH_LOCATION", "/file");
        fake = fake.json("/aks", &aks()).variable(variable, "/aks");
        let settings = fake.read(keys()).unwrap();
        assert_eq!(settings.subscription, "aks-sub", "{variable}");
        assert_eq!(who(&settings), ("aks-ten", "aks-cli", "aks-secret"), "{variable}");
        assert_eq!(settings.endpoints.resource_manager, "https://management.usgovcloudapi.net", "{variable}");
    }
    for (variable, position) in
        [("AZURE_TENANT_ID", 0), ("AZURE_CLIENT_ID", 1), ("AZURE_CLIENT_SECRET", 2), ("AZURE_SUBSCRIPTION_ID", 3)]
    {
        let mut one = Fake::default().json("/file", &principal()).variable("AZURE_AUTH_LOCATION", "/file");
        one = one.variable(variable, "env");
        let settings = one.read(keys()).unwrap();
        let (tenant, client, secret) = who(&settings);
        let mut expected = ["file-ten", "file-cli", "file-secret", "file-sub"];
        expected[position] = "env";
        assert_eq!([tenant, client, secret, &settings.subscription], expected, "{variable}");
    }
    fake = fake.variable("AZURE_AUTH_LOCATION", "").variable("AZURE_CLIENT_SECRET", "s");
    assert_eq!(who(&fake.read(keys()).unwrap()), ("toml-ten", "toml-cli", "s"));
}

#[test]
fn endpoints_of_the_credentials_file_win_over_keys_and_the_cloud() {
    let keys = || json!({"Cloud": "azurechinacloud", "DirectoryEndpoint": "https://login.key", "ResourceManagerEndpoint": "https://arm.key"});
    let mut fake = Fake::principal();
    let endpoints = fake.read(keys()).unwrap().endpoints;
    assert_eq!(
        (endpoints.directory.as_str(), endpoints.resource_manager.as_str()),
        ("https://login.key", "https://arm.key")
    );
    fake = fake.json("/file", &principal()).variable("AZURE_AUTH_LOCATION", "/file");
    let endpoints = fake.read(keys()).unwrap().endpoints;
    assert_eq!(endpoints.directory, "https://login.corp");
    assert_eq!(endpoints.resource_manager, "https://arm.corp:8443");
    fake = fake.variable("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9/");
    let endpoints = fake.read(json!({"MetadataEndpoint": "http://127.0.0.1:7"})).unwrap().endpoints;
    assert_eq!(endpoints.metadata, "http://127.0.0.1:9");
}

#[test]
fn every_cloud_has_its_endpoints() {
    for (cloud, directory, resource_manager) in [
        ("", "https://login.microsoftonline.com", "https://management.azure.com"),
        ("AzurePublicCloud", "https://login.microsoftonline.com", "https://management.azure.com"),
        ("AzureUSGovernmentCloud", "https://login.microsoftonline.us", "https://management.usgovcloudapi.net"),
        ("AzureChinaCloud", "https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
        ("AzureGermanCloud", "https://login.microsoftonline.de", "https://management.microsoftazure.de"),
    ] {
        let mut file = aks();
        file["cloud"] = cloud.into();
        let fake = Fake::default().json("/aks", &file).variable("AKS_CREDENTIAL_LOCATION", "/aks");
        let endpoints = fake.read(json!({})).unwrap().endpoints;
        assert_eq!((endpoints.directory.as_str(), endpoints.resource_manager.as_str()), (directory, resource_manager));
    }
}

#[test]
fn who_has_no_client_is_a_managed_identity() {
    let client = |fake: &Fake, keys: Value| match fake.read(keys).unwrap().identity {
        Identity::Managed { client_id } => client_id,
        Identity::ServicePrincipal { .. } => panic!("a service principal"),
    };
    let fake = Fake::default().variable("AZURE_SUBSCRIPTION_ID", "sub");
    assert_eq!(client(&fake, json!({"ManagedIdentity": true})), None);
    let user = Fake::default().variable("AZURE_SUBSCRIPTION_ID", "sub");
    let user = user.variable("VIRTUALNODE_USER_IDENTITY_CLIENTID", "env-user");
    assert_eq!(client(&user, json!({"UserIdentityClientID": "toml-user"})).as_deref(), Some("env-user"));
    let file = json!({"subscriptionId": "sub", "userIdentityClientId": "file-user"});
    let from_file = Fake::default().json("/file", &file).variable("AZURE_AUTH_LOCATION", "/file");
    assert_eq!(client(&from_file, json!({})).as_deref(), Some("file-user"));
    for (id, user, expected) in
        [("msi", "aks-user", Some("aks-user")), ("MSI", "", None), ("", "aks-user", Some("aks-user"))]
    {
        let mut file = aks();
        (file["aadClientId"], file["userAssignedIdentityID"]) = (id.into(), user.into());
        let fake = Fake::default().json("/aks", &file).variable("AKS_CREDENTIAL_LOCATION", "/aks");
        assert_eq!(client(&fake, json!({})).as_deref(), expected, "{id} {user}");
    }
    let both =
        user.variable("AZURE_CLIENT_ID", "c").variable("AZURE_CLIENT_SECRET", "s").variable("AZURE_TENANT_ID", "t");
    assert_eq!(who(&both.read(json!({})).unwrap()), ("t", "c", "s"));
}

#[test]
fn capacity_is_that_of_the_environment_then_of_the_file() {
    let fake = Fake::principal().variable("ACI_QUOTA_CPU", "7").variable("ACI_QUOTA_MEMORY", "1Ti");
    let fake = fake.variable("ACI_QUOTA_POD", "70").variable("ACI_QUOTA_GPU", "1");
    let Capacity { cpu, memory, pods, gpu } =
        fake.read(json!({"CPU": 1.5, "Memory": "1Gi", "Pods": 1, "GPU": "4"})).unwrap().capacity;
    assert_eq!((cpu.as_str(), memory.as_str(), pods.as_str(), gpu.as_deref()), ("7", "1Ti", "70", Some("1")));
    assert_eq!(Fake::principal().read(json!({"CPU": 1.5})).unwrap().capacity.cpu, "1.5");
    let with_skus = Fake::principal().read(json!({"GPUSKUs": ["V100"]})).unwrap();
    assert_eq!(with_skus.capacity.gpu.as_deref(), Some("100"));
}

#[test]
fn the_network_is_that_of_the_environment_then_of_aks_then_of_the_file() {
    let keys = || json!({"SubnetName": "toml-subnet", "VNetName": "toml-vnet", "VNetResourceGroup": "toml-vnet-rg", "VNetSubscriptionID": "toml-vs"});
    let of = |fake: &Fake, keys: Value| {
        let network = fake.read(keys).unwrap().network.unwrap();
        [network.subscription, network.resource_group, network.vnet, network.subnet]
    };
    let mut fake = Fake::principal();
    assert_eq!(of(&fake, json!({"SubnetName": "n", "VNetName": "v"})), ["sub", "rg", "v", "n"]);
    assert_eq!(of(&fake, keys()), ["toml-vs", "toml-vnet-rg", "toml-vnet", "toml-subnet"]);
    let mut older = aks();
    older["vnetResourceGroup"] = Value::Null;
    let of_nodes = Fake::principal().json("/aks", &older).variable("AKS_CREDENTIAL_LOCATION", "/aks");
    assert_eq!(of(&of_nodes, json!({"SubnetName": "n"})), ["sub", "aks-rg", "aks-vnet", "n"]);
    fake = fake.json("/aks", &aks()).variable("AKS_CREDENTIAL_LOCATION", "/aks");
    assert_eq!(of(&fake, keys()), ["toml-vs", "aks-vnet-rg", "aks-vnet", "toml-subnet"]);
    for (name, value) in [
        ("ACI_VNET_SUBSCRIPTION_ID", "1"),
        ("ACI_VNET_RESOURCE_GROUP", "2"),
        ("ACI_VNET_NAME", "3"),
        ("ACI_SUBNET_NAME", "4"),
        ("ACI_SUBNET_CIDR", "10.0.0.0/16"),
        ("KUBE_DNS_IP", "10.0.0.10"),
    ] {
        fake = fake.variable(name, value);
    }
    assert_eq!(of(&fake, keys()), ["1", "2", "3", "4"]);
    let network = fake.read(json!({"SubnetCIDR": "10.2.0.0/16", "KubeDNSIP": "10.2.0.10"})).unwrap().network.unwrap();
    assert_eq!((network.cidr.as_deref(), network.dns.as_deref()), (Some("10.0.0.0/16"), Some("10.0.0.10")));
}

#[test]
fn a_virtual_network_without_a_subnet_and_a_subnet_without_a_name_server_are_nothing_to_complain_of() {
    assert!(Fake::principal().variable("ACI_VNET_NAME", "v").read(json!({})).unwrap().network.is_none());
    let network = Fake::principal().read(json!({"SubnetName": "n", "VNetName": "v", "KubeDNSIP": ""})).unwrap().network;
    assert_eq!(network.unwrap().dns, None);
}

#[test]
fn log_analytics_is_that_of_the_environment_if_both_are_set_then_of_the_file() {
    let file = json!({"workspaceID": "file-id", "WorkspaceKey": "file-key", "logType": "ContainerInstanceLogs",
        "metadata": {"a": "b"}, "workspaceResourceId": "res"});
    let fake = || Fake::principal().json("/log", &file).variable("LOG_ANALYTICS_AUTH_LOCATION", "/log");
    let read = |fake: Fake| fake.read(json!({})).unwrap().log_analytics.unwrap();
    let analytics = read(fake());
    assert_eq!(
        (analytics.workspace_id.as_str(), analytics.log_type.as_deref()),
        ("file-id", Some("ContainerInstanceLogs"))
    );
    assert_eq!((analytics.metadata.len(), analytics.workspace_resource_id.as_deref()), (1, Some("res")));
    assert_eq!(read(fake().variable("LOG_ANALYTICS_ID", "alone")).workspace_id, "file-id");
    let analytics = read(fake().variable("LOG_ANALYTICS_ID", "env-id").variable("LOG_ANALYTICS_KEY", "env-key"));
    assert_eq!((analytics.workspace_id.as_str(), analytics.workspace_key.unwrap().0.as_str()), ("env-id", "env-key"));
    let analytics = read(fake().variable("CLUSTER_RESOURCE_ID", "cluster"));
    assert_eq!(analytics.log_type.as_deref(), Some("ContainerInsights"));
    assert_eq!(analytics.metadata.get("cluster-resource-id").map(String::as_str), Some("cluster"));
    assert_eq!(analytics.metadata.get("node-name").map(String::as_str), Some("node"));
    let keys = json!({"LogAnalyticsAuthLocation": "/log", "ClusterResourceID": "cluster"});
    let by_key = Fake::principal().json("/log", &file).read(keys).unwrap().log_analytics.unwrap();
    assert_eq!((by_key.workspace_id.as_str(), by_key.metadata.len()), ("file-id", 3));
    let alone = Fake::principal().variable("CLUSTER_RESOURCE_ID", "cluster").read(json!({})).unwrap();
    assert!(alone.log_analytics.is_none());
}

#[test]
fn realtime_metrics_and_user_agent_are_those_of_the_environment_then_of_the_file() {
    for (variable, key, on) in [("true", false, true), ("false", true, false), ("1", true, false), ("", true, true)] {
        let fake = Fake::principal().variable("ENABLE_REAL_TIME_METRICS", variable);
        assert_eq!(fake.read(json!({"RealtimeMetrics": key})).unwrap().realtime_metrics, on, "{variable} {key}");
    }
    let fake = Fake::principal().variable("ACI_EXTRA_USER_AGENT", "env");
    assert!(fake.read(json!({"ExtraUserAgent": "toml"})).unwrap().user_agent.ends_with(" env"));
}

#[test]
fn the_hosts_flag_and_the_key_may_agree() {
    let keys = |os: &str| json!({"Region": "westeurope", "ResourceGroup": "rg", "OperatingSystem": os});
    let fake = Fake::principal();
    for (flag, key, result) in [
        (None, "", OperatingSystem::Linux),
        (None, "Windows", OperatingSystem::Windows),
        (Some(OperatingSystem::Windows), "", OperatingSystem::Windows),
        (Some(OperatingSystem::Windows), "windows", OperatingSystem::Windows),
        (Some(OperatingSystem::Linux), "Linux", OperatingSystem::Linux),
    ] {
        assert_eq!(fake.read_bare(flag, keys(key)).unwrap().operating_system, result, "{flag:?} {key}");
    }
}
