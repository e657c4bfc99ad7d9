//! What the service refuses, each rule with its code.

use serde_json::{Value, json};
use vk_azure::{Limits, Options, Subnet};

use crate::client::{Azure, container, group};

const SUBNETS: &str = "/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/vnet/subnets";

/// A group that is all right, with something changed: pointers to members, and what they become (`null`: nothing).
fn changed(changes: &[(&str, Value)]) -> Value {
    let mut body = group("exec sleep 1000");
    for (pointer, value) in changes {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} has no parent"));
        match value {
            Value::Null => {
                parent.as_object_mut().unwrap().remove(member);
            }
            value => parent[member] = value.clone(),
        }
    }
    body
}

#[tokio::test]
async fn each_rule_refuses_with_its_code() {
    const APP: &str = "/properties/containers/0/properties";
    let at = |member: &str| format!("{APP}/{member}");
    let azure = Azure::start(Options::default()).await;
    let port = |port: i64| json!({"port": port, "protocol": "TCP"});
    let public = |ports: Value| json!({"type": "Public", "ports": ports});
    let secret = json!([{"name": "keys", "secret": {"a": "YQ=="}}]);
    let cases: Vec<(&str, Vec<(String, Value)>)> = vec![
        ("LocationNotAvailableForResourceType", vec![("/location".into(), json!("moon"))]),
        (
            "InvalidTags",
            vec![(
                "/tags".into(),
                (0..51).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>().into(),
            )],
        ),
        ("InvalidRequestContent", vec![("/properties/osType".into(), json!("BeOS"))]),
        ("InvalidRequestContent", vec![("/properties/restartPolicy".into(), json!("Sometimes"))]),
        ("InvalidRequestContent", vec![("/properties/colour".into(), json!("red"))]),
        ("InvalidRequestContent", vec![(at("imagePullPolicy"), json!("Always"))]),
        ("InvalidRequestContent", vec![(at("command"), json!("sh"))]),
        ("InvalidContainers", vec![("/properties/containers".into(), json!([]))]),
        (
            "InvalidContainers",
            vec![("/properties/containers".into(), (0..61).map(|n| container(&format!("c{n}"), "true")).collect())],
        ),
        ("InvalidContainerName", vec![("/properties/containers/0/name".into(), json!("App"))]),
        (
            "DuplicateContainerNames",
            vec![("/properties/containers".into(), json!([container("a", "true"), container("a", "true")]))],
        ),
        ("InvalidImage", vec![(at("image"), json!(""))]),
        ("ResourceRequestsNotSpecified", vec![(at("resources"), Value::Null)]),
        ("ResourceRequestsNotSpecified", vec![(at("resources/requests"), Value::Null)]),
        ("ResourceSomeRequestsNotSpecified", vec![(at("resources/requests/cpu"), Value::Null)]),
        ("InvalidResourceRequests", vec![(at("resources/requests/cpu"), json!(0))]),
        ("ContainerGroupRequestExceedsLimits", vec![(at("resources/requests/memoryInGB"), json!(16.1))]),
        ("ResourceLimitsLessThanRequests", vec![(at("resources/limits"), json!({"cpu": 0.4}))]),
        ("ContainerLimitGreaterThanContainerGroupTotalRequest", vec![(at("resources/limits"), json!({"cpu": 0.6}))]),
        ("GpuNotSupported", vec![(at("resources/requests/gpu"), json!({"count": 1, "sku": "K80"}))]),
        ("InvalidPort", vec![(at("ports"), json!([port(0)]))]),
        ("DuplicatePorts", vec![(at("ports"), json!([port(80), port(80)]))]),
        ("MissingIpAddressPorts", vec![("/properties/ipAddress".into(), public(json!([])))]),
        ("TooManyIpAddressPorts", vec![("/properties/ipAddress".into(), public((1..=6).map(port).collect()))]),
        ("IpAddressPortNotExposed", vec![("/properties/ipAddress".into(), public(json!([port(80)])))]),
        (
            "DuplicatePorts",
            vec![
                (at("ports"), json!([port(80)])),
                ("/properties/ipAddress".into(), public(json!([port(80), port(80)]))),
            ],
        ),
        (
            "PrivateIPAddressNeedsVirtualNetwork",
            vec![
                (at("ports"), json!([port(80)])),
                ("/properties/ipAddress".into(), json!({"type": "Private", "ports": [port(80)]})),
            ],
        ),
        (
            "InvalidDnsNameLabel",
            vec![
                (at("ports"), json!([port(80)])),
                ("/properties/ipAddress".into(), json!({"type": "Public", "ports": [port(80)], "dnsNameLabel": "web"})),
            ],
        ),
        (
            "VirtualNetworkNotFound",
            vec![("/properties/subnetIds".into(), json!([{"id": format!("/subscriptions/s{SUBNETS}/a")}]))],
        ),
        ("VolumesNotFound", vec![(at("volumeMounts"), json!([{"name": "keys", "mountPath": "/keys"}]))]),
        ("DuplicateVolumes", vec![("/properties/volumes".into(), json!([secret[0], secret[0]]))]),
        ("InvalidVolumeName", vec![("/properties/volumes".into(), json!([{"name": "a--b", "emptyDir": {}}]))]),
        ("InvalidVolume", vec![("/properties/volumes".into(), json!([{"name": "keys"}]))]),
        (
            "InvalidVolume",
            vec![("/properties/volumes".into(), json!([{"name": "keys", "emptyDir": {}, "secret": {}}]))],
        ),
        (
            "InvalidVolumeMountPath",
            vec![
                ("/properties/volumes".into(), secret.clone()),
                (at("volumeMounts"), json!([{"name": "keys", "mountPath": "/a:b"}])),
            ],
        ),
        (
            "InvalidVolumeMountPath",
            vec![
                ("/properties/volumes".into(), secret.clone()),
                (at("volumeMounts"), json!([{"name": "keys", "mountPath": "keys"}])),
            ],
        ),
        (
            "InvalidVolumeMountPath",
            vec![
                ("/properties/volumes".into(), secret.clone()),
                (
                    at("volumeMounts"),
                    json!([{"name": "keys", "mountPath": "/k"}, {"name": "keys", "mountPath": "/k/"}]),
                ),
            ],
        ),
        ("InvalidSecretVolume", vec![("/properties/volumes".into(), json!([{"name": "keys", "secret": {"a": "%"}}]))]),
        (
            "InvalidAzureFileVolume",
            vec![(
                "/properties/volumes".into(),
                json!([{"name": "share", "azureFile": {"shareName": "s", "storageAccountName": "a"}}]),
            )],
        ),
        (
            "InvalidGitRepoVolume",
            vec![("/properties/volumes".into(), json!([{"name": "code", "gitRepo": {"revision": "main"}}]))],
        ),
        (
            "TooManyVolumes",
            vec![(
                "/properties/volumes".into(),
                (0..21).map(|n| json!({"name": format!("v{n}"), "emptyDir": {}})).collect(),
            )],
        ),
        (
            "SecretVolumesNotSupportedOnWindows",
            vec![("/properties/osType".into(), json!("Windows")), ("/properties/volumes".into(), secret)],
        ),
        (
            "WindowsContainersVolumeNotSupported",
            vec![
                ("/properties/osType".into(), json!("Windows")),
                (
                    "/properties/volumes".into(),
                    json!([{"name": "share", "azureFile": {"shareName": "s", "storageAccountName": "a", "storageAccountKey": "k"}}]),
                ),
            ],
        ),
        (
            "WindowsContainersNotSupported",
            vec![
                ("/properties/osType".into(), json!("Windows")),
                ("/properties/dnsConfig".into(), json!({"nameServers": ["10.0.0.10"]})),
            ],
        ),
        (
            "MultipleContainersNotSupportedOnWindows",
            vec![
                ("/properties/osType".into(), json!("Windows")),
                ("/properties/containers".into(), json!([container("a", "true"), container("b", "true")])),
            ],
        ),
        ("DnsConfigNameServersNotSpecified", vec![("/properties/dnsConfig".into(), json!({"options": "ndots:5"}))]),
        ("InvalidProbe", vec![(at("livenessProbe"), json!({"periodSeconds": 1}))]),
        ("InvalidProbe", vec![(at("livenessProbe"), json!({"exec": {"command": ["true"]}, "httpGet": {"port": 80}}))]),
        ("InvalidProbe", vec![(at("readinessProbe"), json!({"httpGet": {"path": "/"}}))]),
        ("InvalidProbe", vec![(at("readinessProbe"), json!({"httpGet": {"port": 80, "scheme": "ftp"}}))]),
        ("InvalidEnvironmentVariableName", vec![(at("environmentVariables"), json!([{"name": "A-B", "value": ""}]))]),
        (
            "InvalidEnvironmentVariable",
            vec![(at("environmentVariables"), json!([{"name": "A", "value": "", "secureValue": "x"}]))],
        ),
        (
            "InvalidImageRegistryCredentialType",
            vec![("/properties/imageRegistryCredentials".into(), json!([{"server": "r.example", "username": "u"}]))],
        ),
        (
            "InvalidLogAnalyticsWorkspace",
            vec![("/properties/diagnostics".into(), json!({"logAnalytics": {"workspaceId": "w"}}))],
        ),
        (
            "InvalidConfidentialComputeProperties",
            vec![("/properties/confidentialComputeProperties".into(), json!({"ccePolicy": "YQ=="}))],
        ),
        ("InvalidExtension", vec![("/properties/extensions".into(), json!([{"name": "x", "properties": {}}]))]),
    ];
    for (number, (code, changes)) in cases.iter().enumerate() {
        let changes: Vec<(&str, Value)> =
            changes.iter().map(|(pointer, value)| (pointer.as_str(), value.clone())).collect();
        let answer = azure.put(&format!("group-{number}"), &changed(&changes)).await;
        assert_eq!((answer.status, answer.code()), (400, *code), "{changes:?}: {}", answer.body);
    }
    assert_eq!(azure.groups(), [], "nothing that is refused is kept");

    let answer = azure.put("Web", &group("true")).await;
    assert_eq!((answer.status, answer.code()), (400, "InvalidContainerGroupName"));
    let answer = azure.put("web", &json!({"location": "West Europe", "properties": null, "name": "other"})).await;
    assert_eq!(answer.code(), "InvalidRequestContent", "a region may be spelled as people do");
}

#[tokio::test]
async fn what_is_allowed_is_not_refused() {
    let azure = Azure::start(Options::default()).await;
    let app = "/properties/containers/0/properties";
    let body = changed(&[
        ("/location", json!("West Europe")),
        ("/properties/sku", json!("Confidential")),
        ("/properties/confidentialComputeProperties", json!({"ccePolicy": "YQ=="})),
        (&format!("{app}/ports"), json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}])),
        (&format!("{app}/resources/limits"), json!({"cpu": 0.5, "memoryInGB": 0.5})),
        (&format!("{app}/livenessProbe"), json!({"httpGet": {"port": 53, "scheme": "HTTP"}, "initialDelaySeconds": 9})),
        (&format!("{app}/instanceView"), Value::Null),
        (
            "/properties/ipAddress",
            json!({"type": "Public", "ports": [{"port": 53, "protocol": "UDP"}], "dnsNameLabel": "names"}),
        ),
    ]);
    let answer = azure.put("dns", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["properties"]["ipAddress"]["fqdn"], "names.westeurope.azurecontainer.io");
    let taken = azure.put("dns-2", &body).await;
    assert_eq!((taken.status, taken.code()), (409, "DnsNameLabelNotAvailable"));
}

#[tokio::test]
async fn members_that_are_not_known_are_ignored_where_that_is_wanted() {
    let azure = Azure::start(Options { strict: false, ..Options::default() }).await;
    let body = changed(&[("/properties/colour", json!("red"))]);
    assert_eq!(azure.put("web", &body).await.status, 201);
}

#[tokio::test]
async fn subnets_have_to_be_there_and_delegated() {
    let subscription = Options::default().subscription;
    let id = |name: &str| format!("/subscriptions/{subscription}{SUBNETS}/{name}");
    let delegation =
        json!([{"name": "aci", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}]);
    let subnets = vec![
        Subnet { id: id("plain"), properties: json!({"addressPrefix": "10.0.0.0/24"}) },
        Subnet { id: id("aci"), properties: json!({"addressPrefix": "10.0.1.0/24", "delegations": delegation}) },
    ];
    let azure = Azure::start(Options { subnets, ..Options::default() }).await;
    let within = |name: &str| changed(&[("/properties/subnetIds", json!([{"id": id(name)}]))]);
    assert_eq!(azure.put("a", &within("other")).await.code(), "SubnetNotFound");
    assert_eq!(azure.put("b", &within("plain")).await.code(), "SubnetNotDelegatedToService");
    assert_eq!(azure.put("c", &within("ACI")).await.status, 201);
    let running = azure.wait_for("c", |group| group.state == "Running").await.unwrap();
    assert_eq!(running.body["properties"]["ipAddress"]["type"], "Private");
    let mut public = within("aci");
    public["properties"]["containers"][0]["properties"]["ports"] = json!([{"port": 80}]);
    public["properties"]["ipAddress"] = json!({"type": "Public", "ports": [{"port": 80}]});
    assert_eq!(azure.put("d", &public).await.code(), "PublicIPAddressNotSupportedInVirtualNetwork");
}

#[tokio::test]
async fn groups_and_cores_have_quotas() {
    let limits = Limits { groups: Some(2), cores: Some(1.2), ..Limits::default() };
    let azure = Azure::start(Options { limits, ..Options::default() }).await;
    let body = group("exec sleep 1000");
    assert_eq!(azure.put("a", &body).await.status, 201);
    let larger = changed(&[("/properties/containers/0/properties/resources/requests/cpu", json!(0.8))]);
    let refused = azure.put("b", &larger).await;
    assert_eq!((refused.status, refused.code()), (409, "ServiceUnavailable"));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("'StandardCores' exceeded"), "{refused:?}");
    assert_eq!(azure.put("b", &body).await.status, 201);
    let refused = azure.put("c", &body).await;
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("'ContainerGroups' exceeded"), "{refused:?}");
    azure.delete("a").await;
    assert_eq!(azure.put("c", &body).await.status, 201);
}

#[tokio::test]
async fn a_group_that_is_there_takes_the_same_body_again_and_no_other_size() {
    let azure = Azure::start(Options::default()).await;
    let body = group("exec sleep 1000");
    azure.put("web", &body).await;
    let again = azure.put("web", &body).await;
    assert_eq!((again.status, again.code()), (409, "ContainerGroupTransitioning"));
    azure.wait_for("web", |group| group.state == "Running").await.unwrap();
    let again = azure.put("web", &body).await;
    assert_eq!((again.status, &again.body["properties"]["instanceView"]["state"]), (200, &json!("Running")));
    let larger = changed(&[("/properties/containers/0/properties/resources/requests/cpu", json!(0.8))]);
    assert_eq!(azure.put("web", &larger).await.code(), "InvalidContainerGroupUpdate");
}
