//! What containers see of the machine, and volumes.

use std::{fs, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use vk_azure::containers::{Container, StartError, volumes};

use crate::fixture::{Fixture, LIMIT, mount, spec};

#[tokio::test]
async fn volumes_are_at_their_paths() {
    let volume = tempfile::tempdir().unwrap();
    let odd = volume.path().join("a folder #1 of 'ours'");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("file"), "content").unwrap();
    for path in
        ["/data", "/etc/config/deep", "/usr/site", "/var/run/secrets/kubernetes.io", "/with blank/#'x\\y", "/tmp"]
    {
        let script = r#"cat "$0/file"; echo written >"$0/new"; ls /"#;
        let with = |spec: &mut vk_azure::containers::Spec| spec.mounts = vec![mount(&odd, path, false)];
        let (code, log) = Fixture::with(&["sh", "-c", script, path], with).await.ended().await;
        assert_eq!(code, 0, "{path}: {log}");
        assert!(log.starts_with("content"), "{path}: {log}");
        assert_eq!(fs::read_to_string(odd.join("new")).unwrap(), "written\n");
        fs::remove_file(odd.join("new")).unwrap();
    }
}

#[tokio::test]
async fn what_is_read_only_cannot_be_written() {
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("file"), "content").unwrap();
    let with = |spec: &mut vk_azure::containers::Spec| {
        spec.mounts = vec![mount(volume.path(), "/read", true), mount(volume.path(), "/write", false)];
    };
    let script = "cat /read/file; echo no >/read/file && exit 9; echo yes >/write/other && cat /read/other";
    let (code, log) = Fixture::with(&["sh", "-c", script], with).await.ended().await;
    assert_eq!(code, 0, "{log}");
    assert!(log.starts_with("content") && log.contains("Read-only") && log.ends_with("yes\n"), "{log}");
    assert_eq!(fs::read_to_string(volume.path().join("file")).unwrap(), "content");
}

#[tokio::test]
async fn a_volume_within_a_volume_is_seen_whatever_the_order() {
    let (outer, inner) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outer.path().join("file"), "outer ").unwrap();
    fs::write(inner.path().join("file"), "inner").unwrap();
    let with = |spec: &mut vk_azure::containers::Spec| {
        spec.mounts = vec![mount(inner.path(), "/data/inner/", false), mount(outer.path(), "/data", false)];
    };
    let fixture = Fixture::with(&["cat", "/data/file", "/data/inner/file"], with).await;
    assert_eq!(fixture.ended().await, (0, "outer inner".into()));
}

#[tokio::test]
async fn two_containers_share_a_volume() {
    let shared = tempfile::tempdir().unwrap();
    let with = |spec: &mut vk_azure::containers::Spec| spec.mounts = vec![mount(shared.path(), "/shared", false)];
    let reader = Fixture::with(&["sh", "-c", "mkfifo /shared/fifo; echo up; cat /shared/fifo"], with).await;
    reader.has_written("up").await;
    let writer = Fixture::with(&["sh", "-c", "echo hello >/shared/fifo"], with).await;
    assert_eq!(writer.ended().await, (0, String::new()));
    assert_eq!(reader.ended().await, (0, "up\nhello\n".into()));
}

#[tokio::test]
async fn a_container_sees_programs_devices_and_no_more_and_changes_nothing() {
    let secret = tempfile::tempdir().unwrap();
    let path = secret.path().to_str().unwrap();
    let script = r#"test -e "$0" && exit 8; test -e "$1" && exit 9; test $$ = 1 || exit 10; set -e
        echo x >/etc/vk-azure-test; echo x >/usr/vk-azure-test; echo x >/tmp/x; echo x >/dev/null; head -c 3 /dev/zero | wc -c
        test -d /root -a -w /tmp -a "$PWD" = / ; ls /proc | grep -c '^[0-9]'"#;
    let fixture = Fixture::new(&["sh", "-c", script, path, env!("CARGO_MANIFEST_DIR")]).await;
    let (code, log) = fixture.ended().await;
    assert_eq!(code, 0, "{log}");
    assert!(log.starts_with("3\n"), "{log}");
    let seen: u32 = log.lines().nth(1).unwrap().parse().unwrap();
    assert!(seen <= 3, "it sees {seen} processes");
    assert!(!fs::exists("/etc/vk-azure-test").unwrap() && !fs::exists("/usr/vk-azure-test").unwrap());
    assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), 0, "nothing stays");
}

#[tokio::test]
async fn paths_that_leave_the_root_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["", "/", "relative", "/a/../b", "/..", "/a\0b"] {
        let mut spec = spec(folder.path(), &["true"]);
        spec.mounts = vec![mount(folder.path(), path, false)];
        let refused = Container::start(spec).await.err();
        assert!(matches!(&refused, Some(StartError::MountPath(refused)) if refused == path), "{path:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_secret_is_files() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    let encoded = BASE64_STANDARD.encode(&bytes);
    volumes::secret(folder.path(), [("binary", encoded.as_str()), ("..data", "eA==")]).unwrap();
    assert_eq!(fs::read(folder.path().join("binary")).unwrap(), bytes);
    assert_eq!(fs::read(folder.path().join("..data")).unwrap(), b"x");

    let empty = tempfile::tempdir().unwrap();
    for (name, value) in [("../up", "eA=="), ("..", "eA=="), ("", "eA=="), ("a/b", "eA=="), ("name", "not base64")] {
        let error = volumes::secret(empty.path(), [("good", "eA=="), (name, value)]).unwrap_err().to_string();
        assert!(!error.contains("not base64\""), "{error}");
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "all or nothing");
}

#[tokio::test]
async fn a_repository_is_cloned() {
    let repository = tempfile::tempdir().unwrap();
    let path = repository.path().join("site.git");
    fs::create_dir(&path).unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"];
        assert!(Command::new("git").current_dir(&path).args(identity).args(arguments).status().unwrap().success());
    };
    git(&["init", "--quiet"]);
    fs::write(path.join("page"), "old").unwrap();
    git(&["add", "page"]);
    git(&["commit", "--quiet", "-m", "Old"]);
    git(&["tag", "v1"]);
    fs::write(path.join("page"), "new").unwrap();
    git(&["commit", "--quiet", "-a", "-m", "New"]);

    let url = format!("file://{}", path.display());
    let volume = tempfile::tempdir().unwrap();
    let page = |folder: &str| fs::read_to_string(volume.path().join(folder).join("page")).unwrap();
    volumes::git(volume.path(), &url, None, None).await.unwrap();
    assert_eq!(page("site"), "new");
    volumes::git(volume.path(), path.to_str().unwrap(), Some("tagged"), Some("v1")).await.unwrap();
    assert_eq!(page("tagged"), "old");
    let itself = tempfile::tempdir().unwrap();
    volumes::git(itself.path(), &url, Some("."), Some("")).await.unwrap();
    assert_eq!(fs::read_to_string(itself.path().join("page")).unwrap(), "new");

    let refuse = async |repository: &str, directory: Option<&str>, revision: Option<&str>| {
        let cloned = volumes::git(volume.path(), repository, directory, revision);
        let error = tokio::time::timeout(LIMIT, cloned).await.unwrap().unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
    };
    refuse(&url, Some("../out"), None).await;
    refuse(&url, Some("/out"), None).await;
    refuse(&url, Some("missing"), Some("no-such-tag")).await;
    refuse(&url, Some("dash"), Some("--orphan=x")).await;
    refuse("file:///no/such/repository", None, None).await;
    refuse("https://example.com/repository.git", None, None).await;
    refuse("--upload-pack=touch /tmp/x", None, None).await;
}
