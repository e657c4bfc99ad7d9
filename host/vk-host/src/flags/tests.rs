//! Tests of the command line.

use super::*;
use crate::usage;

fn parse_in(environment: &[(&str, &str)], arguments: &[&str]) -> Result<Invocation, String> {
    let environment = environment.iter().copied().collect();
    let arguments = ["vk-host"].iter().chain(arguments).map(OsString::from);
    parse(arguments, &environment).map_err(|error| usage::one_line(&error))
}

fn run_in(environment: &[(&str, &str)], arguments: &[&str]) -> Run {
    let arguments: Vec<&str> = ["--provider-wasm", "p.wasm"].iter().chain(arguments).copied().collect();
    match parse_in(environment, &arguments) {
        Ok(Invocation::Run(run)) => *run,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn run(arguments: &[&str]) -> Run {
    run_in(&[], arguments)
}

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn a_provider_is_all_that_is_needed() {
    let run = run(&[]);
    assert_eq!(run.provider.source, Source::File("p.wasm".into()));
    assert_eq!(run.provider.node_name, "virtual-kubelet");
    assert_eq!(run.provider.operating_system, None);
    assert_eq!(run.provider.cache, CacheDir::Nowhere);
    assert_eq!((run.namespace, run.metrics_addr, run.kubeconfig), (None, None, None));
    assert_eq!(run.taint, Some(TaintChoice::default()));
    assert_eq!(run.not_ready_after, Duration::from_secs(300));
    assert_eq!(run.log.log_format, LogFormat::Text);
    assert!(run.addresses.is_empty() && run.ignored.is_empty() && !run.keep_orphans);
}

#[test]
fn the_classic_flags_mean_what_they_meant() {
    let Ok(Invocation::Run(run)) = parse_in(
        &[],
        &[
            "--provider",
            "azure",
            "--namespace",
            "",
            "--nodename",
            "burst",
            "--os",
            "wInDoWs",
            "--taint",
            "azure.com/aci",
        ],
    ) else {
        panic!("not a run")
    };
    assert_eq!(run.provider.source, Source::Bundled("aci".into()));
    assert_eq!(run.namespace, None);
    assert_eq!(run.provider.node_name, "burst");
    assert_eq!(run.provider.operating_system, Some(OperatingSystem::Windows));
    assert_eq!(run.taint.unwrap().taint("aci").key, "azure.com/aci");
}

#[test]
fn classic_flags_without_meaning_are_taken_and_named() {
    let run = run(&["--enable-node-lease", "--full-resync-period", "1m", "--pod-sync-workers=10"]);
    assert_eq!(run.ignored, ["--enable-node-lease", "--full-resync-period", "--pod-sync-workers"]);
    assert_eq!(self::run(&["--enable-node-lease=true"]).ignored, ["--enable-node-lease"]);
}

#[test]
fn the_environment_stands_in_for_flags_that_are_not_given() {
    let environment = [("DEFAULT_NODE_NAME", "from-env"), ("VKUBELET_POD_IP", "10.0.0.1,fd00::1")];
    let from_environment = run_in(&environment, &[]);
    assert_eq!(from_environment.provider.node_name, "from-env");
    assert_eq!(from_environment.addresses, ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    let from_flags = run_in(&environment, &["--nodename", "flag", "--address", "10.0.0.2"]);
    assert_eq!(from_flags.provider.node_name, "flag");
    assert_eq!(from_flags.addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let run = run_in(&[("DEFAULT_NODE_NAME", ""), ("VKUBELET_POD_IP", ""), ("VKUBELET_TAINT_EFFECT", "")], &[]);
    assert_eq!(run.provider.node_name, "virtual-kubelet");
    assert!(run.addresses.is_empty());
}

#[test]
fn grants_are_lists_and_may_be_repeated() {
    let run = run(&["--allow-env", "A,B_*", "--allow-env", "C", "--allow-read", "/a,/b"]);
    assert_eq!(run.provider.env.len(), 3);
    assert_eq!(run.provider.read, [PathBuf::from("/a"), PathBuf::from("/b")]);
}

#[test]
fn the_cache_is_where_the_user_keeps_caches() {
    for (environment, arguments, wanted) in [
        (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")][..], &[][..], CacheDir::Default("/x/vk-host".into())),
        (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], &[], CacheDir::Default("/h/.cache/vk-host".into())),
        (&[("HOME", "/h")], &["--cache-dir", "/c"], CacheDir::Given("/c".into())),
        (&[("HOME", "")], &[], CacheDir::Nowhere),
    ] {
        assert_eq!(run_in(environment, arguments).provider.cache, wanted);
    }
}

#[test]
fn a_usage_error_is_one_line_that_names_the_flag_and_the_remedy() {
    let file = "--provider-wasm=p.wasm";
    for (arguments, wanted) in [
        (&[][..], &["--provider-wasm FILE", "--provider NAME"][..]),
        (&["check"], &["FILE.wasm", "--provider NAME"]),
        (&["inspect"], &["<FILE>"]),
        (&["inspct", "x"], &["inspct", "inspect"]),
        (&[file, "--provider=mock"], &["--provider-wasm", "--provider", "cannot be used with"]),
        (&["check", "p.wasm", "--provider=mock"], &["--provider", "cannot be used with"]),
        (&[file, "--nodnam=x"], &["--nodnam", "--nodename"]),
        (&[file, "--os=plan9"], &["--os", "operating system \"plan9\" is not supported", "Linux or Windows"]),
        (&[file, "--taint=k:Never"], &["--taint", "NoSchedule, PreferNoSchedule, NoExecute"]),
        (&[file, "--taint=k", "--disable-taint"], &["--taint", "--disable-taint"]),
        (&[file, "--owner=Upper"], &["--owner", "1 to 32"]),
        (&[file, "--owner="], &["--owner"]),
        (&[file, "--nodename=Upper_Case"], &["--nodename", "lower-case"]),
        (&[file, "--address=nowhere"], &["--address", "nowhere"]),
        (&[file, "--address=10.0.0.1,10.0.0.2"], &["--address", "one IPv4"]),
        (&[file, "--not-ready-after=5"], &["--not-ready-after", "500ms"]),
        (&[file, "--metrics-addr=9090"], &["--metrics-addr", "127.0.0.1:9090"]),
        (&[file, "--metrics-addr=localhost:http"], &["--metrics-addr"]),
        (&[file, "--log-format=xml"], &["--log-format", "text", "json"]),
        (&[file, "--log-level=vk_host=loud"], &["--log-level", "info,vk_runtime=debug"]),
        (&[file, "--log-level=verbose"], &["--log-level", "info,vk_runtime=debug"]),
        (&[file, "--allow-env=*"], &["--allow-env", "AZURE_*"]),
        (&[file, "--allow-net=example.com"], &["--allow-net", "example.com"]),
        (&["--provider=../x"], &["--provider", "--provider-wasm"]),
        (&[file, "extra\nline"], &["extra"]),
    ] {
        let line = parse_in(&[], arguments).map(|_| "accepted".to_owned()).unwrap_or_else(|line| line);
        assert!(!line.contains('\n'), "{arguments:?}: {line}");
        for part in wanted {
            assert!(line.contains(part), "{arguments:?}: {part} is not in: {line}");
        }
    }
}

#[test]
fn a_bad_variable_is_a_usage_error_that_names_it() {
    for name in ["DEFAULT_NODE_NAME", "VKUBELET_POD_IP", "VKUBELET_TAINT_KEY", "VKUBELET_TAINT_EFFECT"] {
        let line = parse_in(&[(name, "not fit!")], &["--provider-wasm=p.wasm"]).unwrap_err();
        assert!(line.contains(name) && line.contains("not fit!"), "{line}");
    }
}

#[test]
fn the_kubelet_api_listens_where_kubelets_do_unless_told_otherwise() {
    let kubelet = run(&[]).kubelet;
    assert_eq!(
        kubelet,
        KubeletOptions {
            listen: ":10250".into(),
            certificate: Certificate::Csr { keep: None },
            client_ca: None,
            anonymous: false
        }
    );
    assert_eq!(run_in(&[("KUBELET_PORT", "10260")], &[]).kubelet.listen, ":10260");
    let listen = run_in(&[("KUBELET_PORT", "10260")], &["--listen", "127.0.0.1:0"]).kubelet.listen;
    assert_eq!(listen, "127.0.0.1:0");
    assert!(run(&["--anonymous-auth"]).kubelet.anonymous && !run(&["--anonymous-auth=false"]).kubelet.anonymous);
}

#[test]
fn the_serving_certificate_is_of_files_of_the_cluster_or_its_own() {
    let files = |certificate: &str, key: &str| Certificate::Files { certificate: certificate.into(), key: key.into() };
    let flags = ["--tls-cert-file", "c.pem", "--tls-private-key-file", "k.pem", "--client-ca-file", "ca.pem"];
    let environment =
        [("APISERVER_CERT_LOCATION", "/c"), ("APISERVER_KEY_LOCATION", "/k"), ("APISERVER_CA_CERT_LOCATION", "/ca")];
    let given = run_in(&environment, &flags).kubelet;
    assert_eq!((given.certificate, given.client_ca), (files("c.pem", "k.pem"), Some("ca.pem".into())));
    let classic = run_in(&environment, &[]).kubelet;
    assert_eq!((classic.certificate, classic.client_ca), (files("/c", "/k"), Some("/ca".into())));
    let kept = run(&["--cert-dir", "/keys"]).kubelet.certificate;
    assert_eq!(kept, Certificate::Csr { keep: Some("/keys/kubelet-server-current.pem".into()) });
    let own = run_in(&environment, &["--serving-certificate", "self-signed"]).kubelet;
    assert_eq!(own.certificate, Certificate::SelfSigned);

    for (environment, arguments, says) in [
        (&[][..], &["--tls-cert-file", "c"][..], "--tls-private-key-file"),
        (&[], &["--tls-private-key-file", "k"], "--tls-cert-file"),
        (&[("APISERVER_CERT_LOCATION", "/c")], &[], "APISERVER_KEY_LOCATION"),
        (&[("KUBELET_PORT", "70000")], &[], "KUBELET_PORT: `70000` is not a port"),
        (&[], &["--listen", "nowhere"], "HOST:PORT"),
        (
            &[],
            &["--serving-certificate", "csr", "--tls-cert-file", "c", "--tls-private-key-file", "k"],
            "cannot be used",
        ),
    ] {
        let arguments: Vec<&str> = ["--provider-wasm", "p.wasm"].iter().chain(arguments).copied().collect();
        let refusal = parse_in(environment, &arguments).unwrap_err();
        assert!(refusal.contains(says), "{refusal}");
    }
}
