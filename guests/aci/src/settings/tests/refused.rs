//! What is refused, and what the operator is told.

use super::*;

/// Refused with a line that has all of `parts` in it.
fn refused(fake: &Fake, keys: Value, parts: &[&str]) {
    check(fake.read(keys), parts);
}

fn check(result: Result<Settings>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, vk_sdk::ErrorKind::Invalid);
    for part in parts {
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }
    assert!(!error.message.contains("hunter") && !error.message.contains('\n'), "{}", error.message);
}

#[test]
fn what_is_missing_is_named_with_both_places_where_it_can_be_set() {
    let fake = Fake::principal();
    check(fake.read_bare(None, json!({"Region": "r"})), &["resource group", "ACI_RESOURCE_GROUP", "ResourceGroup"]);
    check(fake.read_bare(None, json!({"ResourceGroup": "g", "Region": ""})), &["region", "ACI_REGION", "Region"]);
    for (variable, parts) in [
        ("AZURE_SUBSCRIPTION_ID", ["AZURE_SUBSCRIPTION_ID", "SubscriptionID"]),
        ("AZURE_TENANT_ID", ["AZURE_TENANT_ID", "TenantID"]),
        ("AZURE_CLIENT_SECRET", ["AZURE_CLIENT_SECRET", "AZURE_AUTH_LOCATION"]),
        ("AZURE_CLIENT_ID", ["AZURE_CLIENT_ID", "VIRTUALNODE_USER_IDENTITY_CLIENTID"]),
    ] {
        refused(&Fake::principal().variable(variable, ""), json!({}), &parts);
    }
    let file = json!({"clientId": "cli", "tenantId": "ten", "subscriptionId": "sub"});
    let fake = Fake::default().json("/etc/c.json", &file).variable("AZURE_AUTH_LOCATION", "/etc/c.json");
    refused(&fake, json!({}), &["AZURE_CLIENT_SECRET", "/etc/c.json"]);
}

#[test]
fn keys_that_are_unknown_or_of_another_type_are_named() {
    let fake = Fake::principal();
    for (keys, parts) in [
        (json!({"Regoin": "x"}), &["unknown setting `Regoin`"][..]),
        (json!({"CPU": []}), &["`CPU`", "quantity"]),
        (json!({"CPU": "many"}), &["CPU", "many"]),
        (json!({"Memory": "1Zi"}), &["Memory", "1Zi"]),
        (json!({"Pods": -1}), &["Pods"]),
        (json!({"PublicIP": "yes"}), &["`PublicIP`"]),
        (json!({"OperatingSystem": "plan9"}), &["OperatingSystem", "plan9", "neither Linux nor Windows"]),
        (json!({"TokenVersion": "v3"}), &["TokenVersion", "v3"]),
        (json!({"Cloud": "AzureMoonCloud"}), &["Cloud", "AzureMoonCloud", "AzurePublicCloud"]),
        (json!({"DirectoryEndpoint": "http://login.corp"}), &["DirectoryEndpoint", "https"]),
        (json!({"ResourceManagerEndpoint": "arm.corp"}), &["ResourceManagerEndpoint"]),
        (json!({"ResourceManagerEndpoint": "https://u:hunter2@arm.corp"}), &["ResourceManagerEndpoint"]),
        (json!({"MetadataEndpoint": "file:///x"}), &["MetadataEndpoint"]),
        (json!({"RealtimeEndpoint": "http://10.0.0.1"}), &["RealtimeEndpoint", "{ip}"]),
        (json!({"ExtraUserAgent": "a\r\nb"}), &["ExtraUserAgent"]),
        (json!({"SubnetCIDR": "10.0.0.0/8"}), &["ACI_SUBNET_NAME", "SubnetName", "ACI_SUBNET_CIDR"]),
        (json!({"SubnetName": "n"}), &["\"n\"", "ACI_VNET_NAME", "VNetName"]),
        (json!({"SubnetName": "n", "VNetName": "v", "SubnetCIDR": "10.0.0.0/33"}), &["SubnetCIDR", "10.0.0.0/33"]),
        (json!({"SubnetName": "n", "VNetName": "v", "SubnetCIDR": "10.0.0.0"}), &["SubnetCIDR"]),
        (json!({"SubnetName": "n", "VNetName": "v", "KubeDNSIP": "dns"}), &["KUBE_DNS_IP", "dns"]),
        (json!({"LogAnalyticsAuthLocation": "/nowhere"}), &["LogAnalyticsAuthLocation", "/nowhere"]),
        (json!({"AuthLocation": "/nowhere"}), &["AuthLocation", "/nowhere"]),
    ] {
        refused(&fake, keys, parts);
    }
}

#[test]
fn variables_that_cannot_be_meant_are_named() {
    for (variable, value, parts) in [
        ("ACI_QUOTA_CPU", "many", &["ACI_QUOTA_CPU", "many"][..]),
        ("ACI_QUOTA_MEMORY", "1GiB", &["ACI_QUOTA_MEMORY", "1GiB"]),
        ("ACI_QUOTA_POD", "-5", &["ACI_QUOTA_POD", "-5"]),
        ("ACI_QUOTA_GPU", "x", &["ACI_QUOTA_GPU"]),
        ("AZURE_AUTH_LOCATION", "/nowhere", &["AZURE_AUTH_LOCATION", "/nowhere"]),
        ("AKS_CREDENTIAL_LOCATION", "/nowhere", &["AKS_CREDENTIAL_LOCATION", "/nowhere"]),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "127.0.0.1", &["AZURE_POD_IDENTITY_AUTHORITY_HOST"]),
        ("ACI_SUBNET_CIDR", "10.0.0.0/8", &["ACI_SUBNET_CIDR"]),
        ("ACI_EXTRA_USER_AGENT", "\u{7f}", &["ACI_EXTRA_USER_AGENT"]),
        ("LOG_ANALYTICS_ID", "w", &["LOG_ANALYTICS_KEY", "LOG_ANALYTICS_AUTH_LOCATION"]),
        ("LOG_ANALYTICS_KEY", "hunter3", &["LOG_ANALYTICS_ID"]),
    ] {
        refused(&Fake::principal().variable(variable, value), json!({}), parts);
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_named_without_their_content() {
    for (variable, content, parts) in [
        ("AZURE_AUTH_LOCATION", "{\"clientSecret\": hunter2}", &["AZURE_AUTH_LOCATION", "\"/f\"", "line 1"][..]),
        ("AZURE_AUTH_LOCATION", "{\"clientId\": {\"hunter2\": 1}}", &["AZURE_AUTH_LOCATION", "line 1"]),
        ("AZURE_AUTH_LOCATION", "", &["AZURE_AUTH_LOCATION"]),
        ("AKS_CREDENTIAL_LOCATION", "[\"hunter2\"]", &["AKS_CREDENTIAL_LOCATION"]),
        (
            "AKS_CREDENTIAL_LOCATION",
            "{\"cloud\": \"AzureMoonCloud\", \"subscriptionId\": \"s\"}",
            &["/f", "AzureMoonCloud"],
        ),
        ("LOG_ANALYTICS_AUTH_LOCATION", " ", &["LOG_ANALYTICS_AUTH_LOCATION", "empty"]),
        ("LOG_ANALYTICS_AUTH_LOCATION", "[\"hunter2\"]", &["LOG_ANALYTICS_AUTH_LOCATION", "workspaceId"]),
        ("LOG_ANALYTICS_AUTH_LOCATION", "{\"workspaceKey\": \"hunter2\"}", &["workspace's id and its key"]),
        ("LOG_ANALYTICS_AUTH_LOCATION", "{\"workspaceId\": \"w\"}", &["workspace's id and its key"]),
    ] {
        refused(&Fake::principal().file("/f", content).variable(variable, "/f"), json!({}), parts);
    }
    let plain = json!({"clientId": "c", "resourceManagerEndpointUrl": "http://arm.corp"});
    let fake = Fake::principal().json("/f", &plain).variable("AZURE_AUTH_LOCATION", "/f");
    refused(&fake, json!({}), &["resourceManagerEndpointUrl", "https"]);
}

#[test]
fn the_hosts_flag_and_the_key_may_not_contradict_each_other() {
    let keys = json!({"Region": "r", "ResourceGroup": "g", "OperatingSystem": "Windows"});
    let result = Fake::principal().read_bare(Some(OperatingSystem::Linux), keys);
    check(result, &["OperatingSystem is \"Windows\"", "--os says linux"]);
}
