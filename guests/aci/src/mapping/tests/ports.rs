use serde_json::{Value, json};

use super::{Given, container, pod, with};

const PUBLIC_IP: &str = "virtual-kubelet.io/public-ip";
const LABEL: &str = "virtual-kubelet.io/dnsnamelabel";

fn listening(ports: &[(u16, &str)]) -> Given {
    let ports: Vec<_> =
        ports.iter().map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol})).collect();
    with(json!({"ports": ports}))
}

fn port(port: u16, protocol: &str) -> Value {
    json!({"port": port, "protocol": protocol})
}

#[test]
fn ports_keep_their_protocol_and_come_once() {
    let group = listening(&[(53, "TCP"), (53, "UDP"), (53, "TCP")]).properties();
    let expected = json!([port(53, "TCP"), port(53, "UDP")]);
    assert_eq!(group["containers"][0]["properties"]["ports"], expected);
    assert_eq!(group["ipAddress"], json!({"type": "Public", "ports": expected}));
}

#[test]
fn the_address_has_the_ports_of_all_containers_each_once() {
    let listens = |name, ports: &[u16]| {
        let ports: Vec<_> = ports.iter().map(|port| json!({"containerPort": port})).collect();
        container(name, json!({"ports": ports}))
    };
    for (first, second, all) in [
        (&[5050][..], &[][..], &[5050][..]),
        (&[80, 443], &[4040], &[80, 443, 4040]),
        (&[5050], &[4040], &[5050, 4040]),
        (&[5050], &[5050], &[5050]),
    ] {
        let group = pod(json!({"containers": [listens("a", first), listens("b", second)]})).properties();
        let expected = |ports: &[u16]| ports.iter().map(|number| port(*number, "TCP")).collect::<Value>();
        assert_eq!(group["ipAddress"]["ports"], expected(all));
        assert_eq!(group["containers"][0]["properties"]["ports"], expected(first));
        assert_eq!(group["containers"][1]["properties"].get("ports").cloned().unwrap_or(json!([])), expected(second));
    }
}

#[test]
fn what_no_port_can_be_is_refused() {
    assert_eq!(
        listening(&[(9, "SCTP")]).refused(),
        "spec.containers[app].ports[9].protocol: ACI carries TCP and UDP, not SCTP"
    );
    let mapped = |host: u16| with(json!({"ports": [{"containerPort": 80, "hostPort": host}]}));
    mapped(80).group();
    assert_eq!(
        mapped(8080).refused(),
        "spec.containers[app].ports[80].hostPort: ACI does not map ports: it must be the containerPort"
    );
    let refusal = with(json!({"ports": [{"containerPort": 80, "hostIP": "10.1.2.3"}]})).refused();
    assert!(refusal.starts_with("spec.containers[app].ports[80].hostIP: "), "{refusal}");
}

#[test]
fn an_address_has_at_most_five_ports() {
    let ports = |count: u16| listening(&(1..=count).map(|port| (port, "TCP")).collect::<Vec<_>>());
    ports(5).group();
    let refusal = ports(6).refused();
    assert!(refusal.starts_with("spec.containers.ports: a public address has at most 5 ports, and these are 6"));
    assert!(ports(6).annotated(PUBLIC_IP, "false").properties().get("ipAddress").is_none());
    ports(6).in_subnet().group();
    let (group, _) = ports(6).annotated("vk-host.dev/ignore", "spec.containers.ports").mapped();
    assert_eq!(group["properties"]["ipAddress"]["ports"].as_array().unwrap().len(), 5);
}

#[test]
fn a_public_address_is_as_the_pod_has_it_else_as_the_node_has_it() {
    for (node, annotation, public) in [
        (true, None, true),
        (true, Some("false"), false),
        (true, Some("true"), true),
        (false, None, false),
        (false, Some("true"), true),
        (false, Some("false"), false),
    ] {
        let given = listening(&[(80, "TCP")]).set(|settings| settings.public_ip = node);
        let given = match annotation {
            Some(value) => given.annotated(PUBLIC_IP, value),
            None => given,
        };
        assert_eq!(given.properties().get("ipAddress").is_some(), public, "{node} {annotation:?}");
    }
    assert!(with(json!({})).properties().get("ipAddress").is_none());
    assert_eq!(
        listening(&[]).annotated(PUBLIC_IP, "yes").invalid(),
        r#"annotation virtual-kubelet.io/public-ip: "yes" is not "true" or "false""#
    );
}

#[test]
fn a_public_address_that_cannot_be_is_refused() {
    let field = format!("metadata.annotations[{PUBLIC_IP}]");
    let given = listening(&[(80, "TCP")]).in_subnet().annotated(PUBLIC_IP, "true");
    assert_eq!(given.refused(), format!("{field}: in a subnet, pods have private addresses only"));
    assert_eq!(with(json!({})).annotated(PUBLIC_IP, "true").refused(), format!("{field}: no container has a port"));
}

#[test]
fn a_label_names_the_public_address() {
    for name in [LABEL, "virtualkubelet.io/dnsnamelabel"] {
        let group = listening(&[(80, "TCP")]).annotated(name, "my-site").properties();
        assert_eq!(group["ipAddress"]["dnsNameLabel"], "my-site");
        assert_eq!(
            listening(&[(80, "TCP")]).annotated(name, "my-site").in_subnet().refused(),
            format!("metadata.annotations[{name}]: in a subnet, pods have private addresses only")
        );
    }
    for label in ["abcd", "My-site", "my.site", "1site", "-site", "site-", &"s".repeat(64), ""] {
        let message = listening(&[(80, "TCP")]).annotated(LABEL, label).invalid();
        assert!(message.starts_with(&format!("annotation {LABEL}: {label:?} is not 5 to 63")), "{message}");
    }
    listening(&[(80, "TCP")]).annotated(LABEL, &"s".repeat(63)).group();
}
