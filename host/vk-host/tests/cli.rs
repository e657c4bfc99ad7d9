//! The program as an operator runs it: exit codes, and one line for each unsuccessful end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vk-host");

/// A kubeconfig whose server nobody listens at.
const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
";

/// The start of a component: magic number, version, layer.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The start of a core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The program, with nothing of this process's environment and in an empty folder.
fn vk_host(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    // A port of its own: several run side by side.
    command.args(arguments).env_clear().env("KUBELET_PORT", "0").current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs it in a folder with these files.
fn run(files: &[(&str, &[u8])], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), content).unwrap();
    }
    vk_host(folder.path(), arguments).output().unwrap()
}

/// The one line of an unsuccessful end.
#[track_caller]
fn refusal(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!said.contains("panicked"), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("vk-host: error: ")).collect();
    let [line] = lines.as_slice() else { panic!("not one line: {said}") };
    // Nothing is said after it, and nothing but log lines before it.
    assert!(said.ends_with(&format!("{line}\n")), "{said}");
    assert!(said.lines().filter(|other| other != line).all(|other| other.contains("INFO")), "{said}");
    (*line).to_owned()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, wanted: &[&str]) {
    let line = refusal(output, code);
    for part in wanted {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
}

#[test]
fn help_and_version_are_answers_and_not_errors() {
    for (arguments, wanted) in [
        (&["help"][..], "--provider-wasm <FILE>"),
        (&["--help"], "Usage: vk-host"),
        (&["help", "check"], "--allow-net"),
        (&["inspect", "--help"], "<FILE>"),
        (&["version"], concat!("Version: ", env!("CARGO_PKG_VERSION"), ", Built: ")),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = run(&[], arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_usage_error_ends_with_2() {
    for (arguments, wanted) in [
        (&[][..], &["no provider", "--provider-wasm FILE", "--provider NAME"][..]),
        (&["--provider-wasm=p.wasm", "--nodnam=x"], &["--nodnam", "--nodename"]),
        (&["--provider-wasm=p.wasm", "--provider=mock"], &["--provider", "--provider-wasm", "cannot be used with"]),
        (&["--provider-wasm=p.wasm", "--taint=k=v:Never"], &["--taint", "`Never`", "NoExecute"]),
        (&["--provider-wasm=p.wasm", "--namespace=Foo_Bar"], &["--namespace", "`Foo_Bar`", "lower-case"]),
        (&["--provider-wasm=p.wasm", "--namespace=a.b"], &["--namespace", "`a.b`"]),
        (&["--provider-wasm=p.wasm", "--os=plan9"], &["--os", "operating system \"plan9\" is not supported"]),
        (&["check"], &["FILE.wasm", "--provider NAME"]),
        (&["inspect"], &["FILE"]),
    ] {
        assert_refused(&run(&[], arguments), 2, wanted);
    }
}

#[test]
fn a_cluster_that_is_not_configured_ends_with_1_and_the_remedy() {
    let files = [("p.wasm", COMPONENT), ("broken", b"{".as_slice())];
    assert_refused(&run(&files, &["--provider-wasm=p.wasm"]), 1, &["no cluster", "--kubeconfig FILE"]);
    let output = run(&files, &["--provider-wasm=p.wasm", "--kubeconfig=absent"]);
    assert_refused(&output, 1, &["cannot read the kubeconfig absent", "--kubeconfig"]);
    let output = run(&files, &["--provider-wasm=p.wasm", "--kubeconfig=broken"]);
    assert_refused(&output, 1, &["cannot use the kubeconfig broken"]);
}

#[test]
fn a_node_checks_its_files_before_it_talks_to_the_cluster() {
    let files = [
        ("kubeconfig", KUBECONFIG.as_bytes()),
        ("p.wasm", COMPONENT),
        ("unknown.toml", b"[sandbox]\nmemry = 1"),
        ("secret.toml", b"[sandbox]\nread = [\".\"]"),
    ];
    for (config, wanted) in [
        ("absent.toml", &["cannot read absent.toml"][..]),
        ("unknown.toml", &["unknown.toml:2:1: ", "memry", "memory"]),
        ("secret.toml", &["sandbox.read", "the kubeconfig"]),
    ] {
        let config = format!("--provider-config={config}");
        let output = run(&files, &["--kubeconfig=kubeconfig", "--provider-wasm=p.wasm", &config]);
        assert_refused(&output, 1, wanted);
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_waited_for_and_named_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kubeconfig"), KUBECONFIG).unwrap();
    fs::write(folder.path().join("p.wasm"), COMPONENT).unwrap();
    let mut command = vk_host(folder.path(), &["--kubeconfig=kubeconfig", "--provider-wasm=p.wasm"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the API server cannot be reached") && line.contains("retry_in")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_hangup_while_starting_does_not_end_it() {
    // It is connected to, and does not answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kubeconfig"), KUBECONFIG.replace("127.0.0.1:1", &server)).unwrap();
    fs::write(folder.path().join("p.wasm"), COMPONENT).unwrap();
    let mut command = vk_host(folder.path(), &["--kubeconfig=kubeconfig", "--provider-wasm=p.wasm"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    // It listens to signals before it says anything.
    assert!(lines.any(|line| line.contains("compiled at every start")));
    for signal in [Signal::HUP, Signal::TERM] {
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_for_metrics_that_cannot_be_had_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--metrics-addr={}", taken.local_addr().unwrap());
    let files = [("kubeconfig", KUBECONFIG.as_bytes()), ("p.wasm", COMPONENT)];
    let output = run(&files, &["--kubeconfig=kubeconfig", "--provider-wasm=p.wasm", &address]);
    assert_refused(&output, 1, &["--metrics-addr", "cannot be listened on"]);
}

#[test]
fn a_bad_configuration_is_one_line_with_its_place() {
    for (text, wanted) in [
        (&b"Region = "[..], &["p.toml:1:"][..]),
        (b"a = 1\n[sandbox]\nmemry = 1", &["p.toml:3:1: ", "memry", "memory"]),
        (b"[sandbox]\nmemory = \"256MB\"", &["p.toml:2:10: ", "sandbox.memory", "MiB"]),
        (b"[sandbox]\nnet = [\"example.com\"]", &["p.toml:2:7: ", "sandbox.net", "example.com"]),
        (b"[sandbox]\nread = [\"/proc/self\"]", &["sandbox.read", "/proc/self"]),
        (b"[sandbox]\nread = [\"absent\"]", &["sandbox.read", "absent"]),
        (b"[sandbox.tls.\"https://a\"]\nca = \"ca.pem\"", &["sandbox.tls", "ca.pem"]),
        (b"\xff", &["p.toml", "UTF-8"]),
    ] {
        let output = run(&[("p.wasm", COMPONENT), ("p.toml", text)], &["check", "p.wasm", "--provider-config=p.toml"]);
        assert_refused(&output, 1, wanted);
    }
    let output = run(&[("p.wasm", COMPONENT)], &["check", "p.wasm", "--provider-config=absent.toml"]);
    assert_refused(&output, 1, &["cannot read absent.toml"]);
}

#[test]
fn a_component_that_cannot_be_used_is_one_line_for_inspect_and_check() {
    let truncated = [COMPONENT, b"\x01\x7f"].concat();
    let files =
        [("text.wasm", &b"(module)"[..]), ("empty.wasm", b""), ("module.wasm", MODULE), ("truncated.wasm", &truncated)];
    for verb in ["inspect", "check"] {
        for (name, wanted) in [
            ("absent.wasm", "cannot read the component"),
            (".", "cannot read the component"),
            ("text.wasm", "not WebAssembly"),
            ("empty.wasm", "not WebAssembly"),
            ("module.wasm", "not a component"),
            ("truncated.wasm", "truncated"),
        ] {
            assert_refused(&run(&files, &[verb, name]), 1, &[name, wanted]);
        }
    }
}

#[test]
fn a_component_that_is_no_provider_is_reported_by_inspect_and_refused_by_check() {
    let files = [("none.wasm", COMPONENT)];
    let output = run(&files, &["inspect", "none.wasm"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("pods") && said.contains("node"), "{said}");
    assert!(output.stderr.is_empty());
    assert_refused(&run(&files, &["check", "none.wasm"]), 1, &["none.wasm", "world vk:provider/provider"]);
}

#[test]
fn an_unknown_provider_is_refused_with_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bundled")).unwrap();
    fs::write(folder.path().join("bundled/mock.wasm"), COMPONENT).unwrap();
    let mut command = vk_host(folder.path(), &["check", "--provider=azure"]);
    let output = command.env("VK_HOST_PROVIDERS", "bundled").output().unwrap();
    assert_refused(&output, 1, &["--provider aci", "found: mock", "--provider-wasm"]);
}

#[test]
fn the_cache_is_made_for_its_user_alone_and_not_required() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("none.wasm"), COMPONENT).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let check = |cache: &str| {
        // The mask of distributions in which each user has a group.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 002; exec \"$0\" check none.wasm", PROGRAM]);
        command.env_clear().env("XDG_CACHE_HOME", folder.path().join(cache)).current_dir(folder.path());
        command.stdin(Stdio::null()).output().unwrap()
    };
    for _ in 0..2 {
        assert_refused(&check("cache"), 1, &["none.wasm", "world vk:provider/provider"]);
    }
    let mode = fs::metadata(folder.path().join("cache/vk-host")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let said = String::from_utf8(check("file").stderr).unwrap();
    assert!(said.contains("compiled at every start") && said.contains("world vk:provider/provider"), "{said}");
}

#[test]
fn a_provider_is_checked_in_the_sandbox_of_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = KUBECONFIG.replace("user: {}", "user: {tokenFile: secrets/token}");
    for (name, content) in [
        ("kubeconfig", kubeconfig.as_bytes()),
        ("p.wasm", COMPONENT),
        ("secrets/token", b"t"),
        ("p.toml", b"[sandbox]\nread = [\"secrets\"]"),
    ] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), content).unwrap();
    }
    let mut command = vk_host(folder.path(), &["check", "p.wasm", "--provider-config=p.toml"]);
    let output = command.env("KUBECONFIG", "kubeconfig").output().unwrap();
    assert_refused(&output, 1, &["sandbox.read", "the token of the kubeconfig"]);
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("none.wasm"), COMPONENT).unwrap();
    for (arguments, code) in [(&["help"][..], 0), (&["version"], 0), (&["inspect", "none.wasm"], 1)] {
        let mut command = vk_host(folder.path(), arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}: {said}");
        assert!(said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [(&["--nonsense"][..], 2), (&["inspect", "absent.wasm"], 1)] {
        let mut child = vk_host(folder.path(), arguments).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
    }
}
