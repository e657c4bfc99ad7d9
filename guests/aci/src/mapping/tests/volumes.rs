use serde_json::{Value, json};

use super::{Given, container, pod};

const KEYS: &[(&str, &str)] = &[("azurestorageaccountname", "account"), ("azurestorageaccountkey", "a2V5\n")];
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod whose container mounts each of the volumes.
fn with(volumes: Value) -> Given {
    let mount = |volume: &Value| {
        let name = volume["name"].as_str().unwrap();
        json!({"name": name, "mountPath": format!("/{name}")})
    };
    let mounts: Vec<_> = volumes.as_array().unwrap().iter().map(mount).collect();
    pod(json!({"volumes": volumes, "containers": [container("app", json!({"volumeMounts": mounts}))]}))
}

/// A pod with one volume of this source.
fn one(source: Value) -> Given {
    let mut volume = source;
    volume["name"] = json!("data1");
    with(json!([volume]))
}

fn csi(members: Value) -> Given {
    let mut source = json!({"driver": "file.csi.azure.com"});
    source.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    one(json!({"csi": source}))
}

#[test]
fn volumes_keep_their_order_and_contents() {
    let given = with(json!([
        {"name": "scratch", "emptyDir": {}},
        {"name": "share-a", "azureFile": {"shareName": "a", "secretName": "s", "readOnly": true}},
        {"name": "share-b", "csi": {"driver": "file.csi.azure.com", "readOnly": true,
            "volumeAttributes": {"shareName": "b", "secretName": "s"}}},
        {"name": "source", "gitRepo": {"repository": "https://example.com/r.git", "directory": ".", "revision": "main"}},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "token", "projected": {"sources": []}},
        {"name": "labels", "downwardAPI": {"items": []}},
        {"name": "plain"},
    ]));
    let given = given.files("share-a", KEYS).files("share-b", KEYS).files("config", &[("ca.crt", "ca"), ("a.b", "")]);
    let given = given.files("secret", &[("key", "\u{0}\u{1}")]).files("token", &[("token", "t")]);
    let group = given.files("labels", &[("labels", "a=\"b\"")]).properties();
    let share = |name: &str| {
        json!({"shareName": name, "readOnly": true, "storageAccountName": "account",
        "storageAccountKey": "a2V5"})
    };
    assert_eq!(
        group["volumes"],
        json!([
            {"name": "scratch", "emptyDir": {}},
            {"name": "share-a", "azureFile": share("a")},
            {"name": "share-b", "azureFile": share("b")},
            {"name": "source",
                "gitRepo": {"repository": "https://example.com/r.git", "directory": ".", "revision": "main"}},
            {"name": "config", "secret": {"a.b": "", "ca.crt": "Y2E="}},
            {"name": "secret", "secret": {"key": "AAE="}},
            {"name": "token", "secret": {"token": "dA=="}},
            {"name": "labels", "secret": {"labels": "YT0iYiI="}},
            {"name": "plain", "emptyDir": {}},
        ])
    );
    assert_eq!(
        group["containers"][0]["properties"]["volumeMounts"][4],
        json!({"name": "config", "mountPath": "/config"})
    );
}

#[test]
fn secrets_of_volumes_are_never_printed() {
    let given = one(json!({"azureFile": {"shareName": "a", "secretName": "s"}})).files("data1", KEYS);
    let printed = format!("{:?}", given.map().unwrap().group);
    assert!(printed.contains("account") && !printed.contains("a2V5"), "{printed}");
}

#[test]
fn a_volume_without_files_is_an_empty_directory() {
    for source in [json!({"configMap": {"name": "c", "optional": true}}), json!({"projected": {"sources": []}})] {
        let group = one(source).files("data1", &[]).properties();
        assert_eq!(group["volumes"], json!([{"name": "data1", "emptyDir": {}}]));
        assert_eq!(group["containers"][0]["properties"]["volumeMounts"][0]["name"], "data1");
    }
}

#[test]
fn shares_need_a_name_and_a_secret() {
    let file = || one(json!({"azureFile": {"shareName": "a", "secretName": "s"}}));
    assert_eq!(file().files("data1", &[]).invalid(), "getting secret for AzureFile volume returned an empty secret");
    assert_eq!(
        file().files("data1", &KEYS[..1]).invalid(),
        r#"volume "data1": its secret has no text under the key azurestorageaccountkey"#
    );
    for (attributes, message) in [
        (json!(null), "secret volume attribute for AzureFile CSI driver data1 cannot be empty or nil"),
        (json!({}), "secret volume attribute for AzureFile CSI driver data1 cannot be empty or nil"),
        (json!({"secretName": "s"}), "share name for AzureFile CSI driver data1 cannot be empty or nil"),
        (json!({"shareName": "a"}), "secret name for AzureFile CSI driver data1 cannot be empty or nil"),
        (json!({"shareName": "a", "secretName": "s"}), "the secret s for AzureFile CSI driver data1 is not found"),
    ] {
        assert_eq!(csi(json!({"volumeAttributes": attributes})).invalid(), message);
    }
    let published = json!({"volumeAttributes": {"shareName": "a"}, "nodePublishSecretRef": {"name": "s"}});
    assert_eq!(csi(published).files("data1", KEYS).properties()["volumes"][0]["azureFile"]["shareName"], "a");
}

#[test]
fn shares_that_are_mounted_otherwise_are_refused() {
    for (name, value) in [("folderName", "sub"), ("protocol", "nfs")] {
        let given = csi(json!({"volumeAttributes": {"shareName": "a", "secretName": "s", name: value}}));
        assert_eq!(
            given.files("data1", KEYS).refused(),
            format!("spec.volumes[data1].csi.volumeAttributes[{name}]: ACI mounts whole shares, by SMB")
        );
    }
}

#[test]
fn other_volumes_are_refused_and_passed_over_with_their_mounts() {
    for (kind, source, named) in [
        ("persistentVolumeClaim", json!({"claimName": "c"}), ": persistentVolumeClaim"),
        ("hostPath", json!({"path": "/p"}), ": hostPath"),
        ("nfs", json!({"server": "s", "path": "/p"}), ": nfs"),
        ("ephemeral", json!({"volumeClaimTemplate": {}}), ": ephemeral"),
        ("image", json!({"reference": "i"}), ": image"),
        ("azureDisk", json!({"diskName": "d"}), ": azureDisk"),
        ("csi", json!({"driver": "disk.csi.azure.com"}), " disk.csi.azure.com"),
    ] {
        let given = one(json!({kind: source}));
        let text = "pod web requires volume data1 which is of an unsupported type";
        assert_eq!(given.refused(), format!("spec.volumes[data1]: {text}{named}"));
        let (group, _) = one(json!({kind: source})).annotated("vk-host.dev/ignore", "spec.volumes[data1]").mapped();
        assert!(group["properties"].get("volumes").is_none(), "{group}");
        assert!(group["properties"]["containers"][0]["properties"].get("volumeMounts").is_none(), "{group}");
    }
}

#[test]
fn empty_directories_are_on_disk() {
    one(json!({"emptyDir": {"medium": ""}})).group();
    for medium in ["Memory", "HugePages-2Mi"] {
        let given = one(json!({"emptyDir": {"medium": medium}}));
        assert_eq!(
            given.refused(),
            format!("spec.volumes[data1].emptyDir.medium: ACI keeps such volumes on disk, not in {medium}")
        );
        let (group, _) = one(json!({"emptyDir": {"medium": medium}}))
            .annotated("vk-host.dev/ignore", "spec.volumes.emptyDir")
            .mapped();
        assert_eq!(group["properties"]["volumes"], json!([{"name": "data1", "emptyDir": {}}]));
    }
    let limited = one(json!({"emptyDir": {"sizeLimit": "1Gi"}})).warnings();
    assert!(limited[0].starts_with("FieldsIgnored: spec.volumes[data1].emptyDir.sizeLimit: "), "{limited:?}");
}

#[test]
fn files_are_flat_and_have_the_services_modes() {
    let files =
        || one(json!({"configMap": {"name": "c"}})).files("data1", &[("flat", "f"), ("deep/er", "d"), ("de/ep", "e")]);
    assert_eq!(
        files().refused(),
        r#"spec.volumes[data1]: ACI has no folders in volumes of files, such as that of "deep/er""#
    );
    let (group, _) = files().annotated("vk-host.dev/ignore", "spec.volumes[data1]").mapped();
    assert_eq!(group["properties"]["volumes"][0]["secret"], json!({"flat": "Zg=="}));

    let mut given = one(json!({"configMap": {"name": "c"}})).files("data1", &[("a", "f"), ("b", "d")]);
    for file in &mut given.volumes[0].files {
        file.mode = 0o755;
    }
    assert_eq!(given.warnings(), ["FieldsIgnored: spec.volumes[data1].mode: ACI sets the modes of files itself"]);
}

#[test]
fn mounts_are_whole_and_have_no_colon() {
    let mount = |members: Value| {
        let mut mount = json!({"name": "data1", "mountPath": "/d"});
        mount.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        pod(json!({"volumes": [{"name": "data1"}], "containers": [container("app", json!({"volumeMounts": [mount]}))]}))
    };
    mount(json!({"subPath": "", "mountPropagation": "None", "recursiveReadOnly": "Disabled"})).group();
    for (members, field) in [
        (json!({"subPath": "a"}), "subPath"),
        (json!({"subPathExpr": "$(IP)"}), "subPathExpr"),
        (json!({"mountPath": "c:/d"}), "mountPath"),
        (json!({"mountPropagation": "Bidirectional"}), "mountPropagation"),
        (json!({"recursiveReadOnly": "Enabled"}), "recursiveReadOnly"),
    ] {
        let refusal = mount(members).refused();
        assert!(refusal.starts_with(&format!("spec.containers[app].volumeMounts[data1].{field}: ")), "{refusal}");
    }
    assert_eq!(
        mount(json!({"name": "none"})).invalid(),
        r#"spec.containers[app].volumeMounts: the pod has no volume "none""#
    );
}

#[test]
fn names_are_made_such_that_the_service_takes_them() {
    let name = |name: &str| {
        let group = with(json!([{"name": name}])).properties();
        assert_eq!(group["volumes"][0]["name"], group["containers"][0]["properties"]["volumeMounts"][0]["name"]);
        group["volumes"][0]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(name("data1"), "data1");
    assert_eq!(name(&"d".repeat(63)), "d".repeat(63));
    for (short, legible) in [("data", "data-"), ("a--b-c", "a-b-c-"), (&format!("{}--x", "d".repeat(60)), "dddd")] {
        let name = name(short);
        assert!(name.starts_with(legible) && (5..=63).contains(&name.len()) && !name.contains("--"), "{name}");
    }
    assert_ne!(name("a--b"), name("a-b"));
}

#[test]
fn a_group_has_at_most_twenty_volumes() {
    let many = |count: usize| with((0..count).map(|number| json!({"name": format!("volume-{number}")})).collect());
    many(20).group();
    assert_eq!(many(21).refused(), "spec.volumes: a group has at most 20 volumes, and these are 21");
}

fn windows(mounts: Value) -> Given {
    let given = pod(json!({
        "volumes": [{"name": "token", "projected": {"sources": []}}, {"name": "scratch", "emptyDir": {}}],
        "containers": [container("app", json!({"volumeMounts": mounts}))],
    }));
    given.files("token", &[("token", "t")])
}

#[test]
fn windows_goes_without_the_accounts_token() {
    let mounts = json!([
        {"name": "token", "mountPath": ACCOUNT.to_uppercase().replace("/VAR", "/var")},
        {"name": "scratch", "mountPath": "/s"},
    ]);
    let group = windows(mounts.clone()).on_windows().properties();
    assert_eq!(group["volumes"], json!([{"name": "scratch", "emptyDir": {}}]));
    let mounted = &group["containers"][0]["properties"]["volumeMounts"];
    assert_eq!(mounted, &json!([{"name": "scratch", "mountPath": "/s"}]));
    let group = windows(mounts).properties();
    assert_eq!(group["volumes"].as_array().unwrap().len(), 2);
    assert_eq!(group["containers"][0]["properties"]["volumeMounts"].as_array().unwrap().len(), 2);
}

#[test]
fn windows_has_no_files_and_no_shares() {
    let elsewhere = json!([{"name": "token", "mountPath": "/t"}, {"name": "scratch", "mountPath": "/s"}]);
    assert_eq!(
        windows(elsewhere).on_windows().refused(),
        "spec.volumes[token]: ACI has no volumes of files for Windows"
    );
    let share = one(json!({"azureFile": {"shareName": "a", "secretName": "s"}})).files("data1", KEYS).on_windows();
    assert_eq!(share.refused(), "spec.volumes[data1]: ACI mounts shares in Linux groups only");
}
