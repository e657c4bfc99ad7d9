use serde_json::{Value, json};

use super::{Given, container, pod, with};

fn resolving(policy: &str, config: Value) -> Given {
    pod(json!({"containers": [container("app", json!({}))], "dnsPolicy": policy, "dnsConfig": config}))
}

#[test]
fn groups_in_a_subnet_have_private_addresses_and_the_clusters_names() {
    let group = with(json!({"ports": [{"containerPort": 80}]})).in_subnet().properties();
    assert_eq!(
        group["subnetIds"],
        json!([{"id": "/subscriptions/netsub/resourceGroups/netrg/providers/Microsoft.Network/virtualNetworks/net/subnets/pods"}])
    );
    assert!(group.get("ipAddress").is_none() && group.get("extensions").is_none());
    assert_eq!(
        group["dnsConfig"],
        json!({"nameServers": ["10.0.0.10"], "searchDomains": "demo.svc.cluster.local svc.cluster.local cluster.local",
            "options": "ndots:5"})
    );
    let group = with(json!({})).properties();
    assert!(group.get("subnetIds").is_none() && group.get("dnsConfig").is_none());
    let group = with(json!({})).in_subnet().on_windows().properties();
    assert!(group["subnetIds"].is_array() && group.get("dnsConfig").is_none());
}

#[test]
fn figures_come_from_linux_groups_in_a_subnet() {
    let given = || with(json!({})).set(|settings| settings.realtime_metrics = true);
    assert_eq!(
        given().in_subnet().properties()["extensions"],
        json!([{"name": "realtime-metrics",
            "properties": {"extensionType": "realtime-metrics", "version": "1.0", "settings": {}}}])
    );
    assert!(given().properties().get("extensions").is_none());
    assert!(given().in_subnet().on_windows().properties().get("extensions").is_none());
}

#[test]
fn a_pods_own_servers_domains_and_options_come_after_the_clusters() {
    let config = json!({"nameservers": ["1.1.1.1", "10.0.0.10"], "searches": ["corp.example", "cluster.local"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
    for policy in ["ClusterFirst", "ClusterFirstWithHostNet"] {
        assert_eq!(
            resolving(policy, config.clone()).in_subnet().properties()["dnsConfig"],
            json!({"nameServers": ["10.0.0.10", "1.1.1.1"],
                "searchDomains": "demo.svc.cluster.local svc.cluster.local cluster.local corp.example",
                "options": "ndots:2 edns0"})
        );
    }
    for policy in ["None", "Default"] {
        assert_eq!(
            resolving(policy, config.clone()).in_subnet().properties()["dnsConfig"],
            json!({"nameServers": ["1.1.1.1", "10.0.0.10"], "searchDomains": "corp.example cluster.local",
                "options": "ndots:2 edns0"})
        );
    }
    let only_server = resolving("None", json!({"nameservers": ["1.1.1.1"]})).in_subnet().properties();
    assert_eq!(only_server["dnsConfig"], json!({"nameServers": ["1.1.1.1"]}));
    assert!(resolving("Default", Value::Null).in_subnet().properties().get("dnsConfig").is_none());
}

#[test]
fn without_a_server_of_the_cluster_the_networks_are_used() {
    let given = || with(json!({})).in_subnet().set(|settings| settings.network.as_mut().unwrap().dns = None);
    assert!(given().properties().get("dnsConfig").is_none());
}

#[test]
fn a_resolver_has_limits() {
    let servers = json!({"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3"]});
    let (group, warnings) = resolving("ClusterFirst", servers).in_subnet().mapped();
    assert_eq!(group["properties"]["dnsConfig"]["nameServers"], json!(["10.0.0.10", "1.1.1.1", "1.1.1.2"]));
    assert_eq!(
        warnings,
        [
            "DNSConfigForming: Nameserver limits were exceeded, some nameservers have been omitted, the applied line is: \
          10.0.0.10 1.1.1.1 1.1.1.2"
        ]
    );

    let (long, too_long) = ("l".repeat(253), "l".repeat(254));
    for (searches, kept) in [
        (vec!["a", "b", "c", "d", "e", "f", "g"], "a b c d e f".to_owned()),
        (vec![&too_long, "a"], "a".to_owned()),
        (vec![&long, "a"], format!("{long} a")),
        (vec![&long, "ab", "c"], format!("{long} ab")),
        (vec![&long, "abc", "c"], long.clone()),
    ] {
        let config = json!({"nameservers": ["1.1.1.1"], "searches": searches});
        let (group, warnings) = resolving("None", config).in_subnet().mapped();
        assert_eq!(group["properties"]["dnsConfig"]["searchDomains"], kept);
        let dropped = kept.split(' ').count() < searches.len();
        assert_eq!(warnings.len(), usize::from(dropped), "{warnings:?}");
        assert!(
            warnings.iter().all(|warning| warning.starts_with("DNSConfigForming: Search Line limits were exceeded, "))
        );
    }
}

#[test]
fn names_that_cannot_be_resolved_as_asked_are_refused() {
    let linux = "spec.dnsConfig: ACI resolves names otherwise than by its own servers only for Linux in a subnet";
    let config = || json!({"nameservers": ["1.1.1.1"]});
    assert_eq!(resolving("None", config()).refused(), linux);
    assert_eq!(resolving("None", config()).in_subnet().on_windows().refused(), linux);
    assert_eq!(resolving("Default", json!({"searches": ["a"]})).refused(), linux);
    assert_eq!(
        resolving("Default", json!({"searches": ["a"]})).in_subnet().refused(),
        "spec.dnsConfig: it needs a name server"
    );
    let options = json!({"options": [{"name": "ndots", "value": "2"}]});
    assert_eq!(
        resolving("ClusterFirst", options).warnings(),
        ["FieldsIgnored: spec.dnsConfig.options: \
          ACI resolves names otherwise than by its own servers only for Linux in a subnet"]
    );
}
