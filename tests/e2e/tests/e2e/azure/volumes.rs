//! Volumes: every kind that ACI has, by what a container reads from it.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::process::Command;
use vk_azure::Share;
use vk_e2e::{AzureSetup, Env, hidden};

use super::{once, printed, properties};

/// The account that has the share.
const ACCOUNT: &str = "storageaccount";

pub(crate) async fn an_empty_dir_is_empty_and_can_be_written(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    let pod = once(env, "scratch", "ls -A /mnt/scratch; echo kept >/mnt/scratch/file; cat /mnt/scratch/file");
    let printed = printed(env, pod.mounts("scratch", json!({"emptyDir": {}}))).await?;
    ensure!(printed == "kept\n", "{printed}");
    Ok(())
}

/// A repository with two commits, the first of which has a tag.
async fn repository(env: &Env) -> Result<String> {
    let folder = env.bench.path("repository.git");
    let script = "set -e
        git init -q --initial-branch=main \"$1\"; cd \"$1\"
        echo first >greeting; git add greeting; git commit -qm first; git tag v1
        echo second >greeting; git commit -qam second";
    let folder = folder.display().to_string();
    let mut command = Command::new("sh");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Somebody").env(format!("GIT_{role}_EMAIL"), "somebody@example.com");
    }
    let output = command.args(["-c", script, "sh", &folder]).output().await?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    Ok(format!("file://{folder}"))
}

pub(crate) async fn a_git_repo_is_cloned_at_its_revision(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let repository = repository(env).await?;
    let pod = once(env, "cloned", "cat /mnt/source/greeting /mnt/older/here/greeting")
        .mounts("source", json!({"gitRepo": {"repository": repository, "directory": "."}}))
        .mounts("older", json!({"gitRepo": {"repository": repository, "directory": "here", "revision": "v1"}}));
    let printed = printed(env, pod).await?;
    ensure!(printed == "second\nfirst\n", "{printed}");
    let group = azure.group_of(&env.pods().get("cloned").await?)?;
    let volumes = properties(&group)["volumes"].clone();
    ensure!(volumes.to_string().contains(r#""revision":"v1""#), "{volumes}");
    Ok(())
}

/// Azure with one share, whose folder is the test's, and a Secret with its account's key.
async fn with_share(env: &mut Env) -> Result<std::sync::Arc<vk_e2e::Azure>> {
    let folder = env.bench.path("share");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("greeting"), "from the share\n")?;
    // Azure's keys are base64.
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, hidden("storage key"));
    let share = Share { account: ACCOUNT.to_owned(), key: key.clone(), name: "files".to_owned(), folder };
    let azure = env.start_azure(AzureSetup::default().azure(|options| options.shares.push(share))).await?;
    env.apply(&format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: account}}
stringData: {{azurestorageaccountname: {ACCOUNT}, azurestorageaccountkey: '{key}'}}
"
    ))
    .await?;
    Ok(azure)
}

fn read(folder: &Path, name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(folder.join(name))?)
}

pub(crate) async fn an_azure_file_share_is_mounted(env: &mut Env) -> Result<()> {
    with_share(env).await?;
    let pod = once(env, "sharing", "cat /mnt/files/greeting; echo from the pod >/mnt/files/answer")
        .mounts("files", json!({"azureFile": {"secretName": "account", "shareName": "files"}}));
    let said = printed(env, pod).await?;
    ensure!(said == "from the share\n", "{said}");
    ensure!(read(&env.bench.path("share"), "answer")? == "from the pod\n");

    let pod = once(env, "reading", "if echo no >/mnt/files/answer; then exit 1; fi; cat /mnt/files/answer")
        .mounts("files", json!({"azureFile": {"secretName": "account", "shareName": "files", "readOnly": true}}));
    let said = printed(env, pod).await?;
    ensure!(said.ends_with("from the pod\n"), "{said}");
    Ok(())
}

pub(crate) async fn an_azure_file_share_is_mounted_by_its_csi_driver(env: &mut Env) -> Result<()> {
    with_share(env).await?;
    let attributes = json!({"shareName": "files", "secretName": "account"});
    let csi = json!({"csi": {"driver": "file.csi.azure.com", "volumeAttributes": attributes}});
    let said = printed(env, once(env, "sharing", "cat /mnt/files/greeting").mounts("files", csi)).await?;
    ensure!(said == "from the share\n", "{said}");
    Ok(())
}

pub(crate) async fn config_maps_are_files(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.apply(
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, size: large}
binaryData: {blob: AAECAw==}
",
    )
    .await?;
    let pod =
        once(env, "configured", "cd /mnt/whole; ls; cat colour; od -An -tx1 blob; ls /mnt/part; cat /mnt/part/hue")
            .mounts("whole", json!({"configMap": {"name": "settings"}}))
            .mounts("part", json!({"configMap": {"name": "settings", "items": [{"key": "colour", "path": "hue"}]}}));
    let printed = printed(env, pod).await?;
    ensure!(printed == "blob\ncolour\nsize\nblue 00 01 02 03\nhue\nblue", "{printed:?}");
    Ok(())
}

pub(crate) async fn secrets_are_files_and_are_shown_to_nobody(env: &mut Env) -> Result<()> {
    let azure = env.start_azure(AzureSetup::default()).await?;
    let value = hidden("secret file");
    env.apply(&format!("{{apiVersion: v1, kind: Secret, metadata: {{name: door}}, stringData: {{key: {value}}}}}"))
        .await?;
    // What it prints tells that it is the value, and not the value.
    let pod = once(env, "opened", "wc -c </mnt/door/key; sha256sum </mnt/door/key")
        .mounts("door", json!({"secret": {"secretName": "door"}}));
    let printed = printed(env, pod).await?;
    let sum: String = sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &value))
        .iter()
        .map(|byte: &u8| format!("{byte:02x}"))
        .collect();
    ensure!(printed == format!("{}\n{sum}  -\n", value.len()), "{printed}");
    let group = azure.group_of(&env.pods().get("opened").await?)?;
    ensure!(properties(&group)["volumes"][0]["secret"] == json!({}), "{group}");
    Ok(())
}

pub(crate) async fn a_projected_volume_has_all_its_sources_and_a_token_that_is_accepted(env: &mut Env) -> Result<()> {
    env.start_azure(AzureSetup::default()).await?;
    env.kubectl(&["create", "configmap", "settings", "--from-literal=colour=blue"]).await?;
    env.kubectl(&["create", "secret", "generic", "door", "--from-literal=key=opens"]).await?;
    let sources = json!({"projected": {"sources": [
        {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "hue"}]}},
        {"secret": {"name": "door"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "example.com"}},
    ]}});
    let script = "cd /mnt/all; cat hue; echo; cat key; echo; grep app labels; cut -d. -f2 token";
    let printed = printed(env, once(env, "projected", script).label("app", "web").mounts("all", sources)).await?;
    let lines: Vec<&str> = printed.lines().collect();
    ensure!(lines.get(..3) == Some(&["blue", "opens", "app=\"web\""][..]), "{printed}");
    let claims = lines.get(3).copied().unwrap_or_default();
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims)?;
    ensure!(claims["aud"] == json!(["example.com"]), "{claims}");
    ensure!(claims["kubernetes.io"]["pod"]["name"] == "projected", "{claims}");

    // What the API server mounts by itself: the token is one that the API server takes.
    let pod =
        once(env, "account", "cd /var/run/secrets/kubernetes.io/serviceaccount; ls; cat namespace; echo; cat token");
    let pod = pod.spec(json!({"automountServiceAccountToken": true, "restartPolicy": "Never"}));
    let printed = self::printed(env, pod).await?;
    let lines: Vec<&str> = printed.lines().collect();
    ensure!(lines.get(..4) == Some(&["ca.crt", "namespace", "token", env.namespace.as_str()][..]), "{printed}");
    let token = lines.get(4).copied().unwrap_or_default();
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token},
    });
    let file = env.bench.write("review.json", review.to_string())?.display().to_string();
    let reviewed = env.kubectl(&["create", "-f", &file, "-o", "jsonpath={.status.authenticated}"]).await?;
    ensure!(reviewed == "true", "the API server does not take the token: {reviewed}");
    Ok(())
}
