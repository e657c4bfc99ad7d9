//! What a guest can reach: the host's functions, and WASI as far as it is granted.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};
use vk_provider::Provider as _;
use vk_runtime::{Generation, Limits, ReadGrant};

use crate::probe::{Logs, Probe, generation, pod, with_limits};

fn granted(net: &str) -> Generation {
    let mut generation = generation();
    generation.sandbox.egress.grants = vec![net.parse().unwrap()];
    generation
}

/// Answers every request with its first line; `/never` not at all.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let request = String::from_utf8_lossy(&request);
                let line = request.lines().next().unwrap_or_default().to_owned();
                if line.contains("/never") {
                    return std::future::pending().await;
                }
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{line}", line.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn http_goes_out_where_it_is_granted() {
    let server = server().await;
    let probe = Probe::start(granted(&server)).await;
    let answer = probe.ask(&format!("http {server}/path?query")).await.unwrap();
    assert_eq!(answer, json!({ "Ok": "200 POST /path?query HTTP/1.1" }));
    let answer = probe.ask(&format!("wasi-http {server}/path?query")).await.unwrap();
    assert_eq!(answer, json!({ "Ok": "200 GET /path?query HTTP/1.1" }));
}

#[tokio::test]
async fn a_refusal_names_the_missing_grant_and_who_asked() {
    let logs = Logs::collect();
    let server = server().await;
    let probe = Probe::start(generation()).await;
    let answer = probe.ask(&format!("http {server}/")).await.unwrap();
    let refusal = answer["Err"].as_str().unwrap();
    assert!(refusal.contains("Denied") && refusal.contains("sandbox.net"), "{refusal}");
    assert!(refusal.contains("(asked for by probe 1.0)"), "{refusal}");

    let answer = probe.ask(&format!("wasi-http {server}/")).await.unwrap();
    assert_eq!(answer, json!({ "Err": "ErrorCode::HttpRequestDenied" }));
    let said = logs.lines().into_iter().filter(|line| line.contains("(asked for by probe 1.0)")).count();
    assert_eq!(said, 2, "wasi:http has no words for it, so the log says it: {:#?}", logs.lines());
}

#[tokio::test]
async fn a_failure_of_wasi_http_leaves_its_reason_in_the_log() {
    let logs = Logs::collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let probe = Probe::start(granted(&format!("http://{address}"))).await;
    let answer = probe.ask(&format!("wasi-http http://{address}/")).await.unwrap();
    assert_eq!(answer, json!({ "Err": "ErrorCode::ConnectionRefused" }));
    let line = logs.line_with("(asked for by probe 1.0)");
    assert!(line.contains("WARN") && line.contains(&address.to_string()), "{line}");
}

#[tokio::test]
async fn a_request_may_take_what_is_left_of_the_call() {
    let server = server().await;
    let mut generation = granted(&server);
    generation.sandbox.limits.timeouts.get = Duration::from_secs(2);
    let probe = Probe::start(generation).await;
    for command in [format!("http {server}/never"), format!("http {server}/never 60000")] {
        let begin = Instant::now();
        let answer = probe.ask(&command).await.unwrap();
        assert_eq!(answer, json!({ "Err": "Failure::Timeout" }), "the guest gets to know of it");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
    let begin = Instant::now();
    let answer = probe.ask(&format!("http {server}/never 100")).await.unwrap();
    assert_eq!(answer, json!({ "Err": "Failure::Timeout" }));
    assert!(begin.elapsed() < Duration::from_secs(1), "its own timeout, where that is shorter");
    let answer = probe.ask(&format!("wasi-http {server}/never")).await.unwrap();
    assert_eq!(answer, json!({ "Err": "ErrorCode::HttpResponseTimeout" }));
}

/// What this process has in memory.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn requests_that_are_never_sent_take_little_of_the_hosts_memory() {
    let mut limits = Limits { cpu: Duration::from_secs(60), ..Limits::default() };
    limits.timeouts.get = Duration::from_secs(60);
    let probe = Probe::start(with_limits(limits)).await;
    probe.ask("ok").await.unwrap();
    let before = resident_bytes();
    assert_eq!(probe.ask("hoard 500").await.unwrap(), json!([0, 0]), "none takes a method or an authority of 1 MiB");
    let grown = resident_bytes().saturating_sub(before);
    // The other tests of this process have their part in it.
    assert!(grown < 512 << 20, "{} MiB for two handles each", grown >> 20);
    let error = probe.ask("hoard 500").await.unwrap_err();
    assert!(error.message.ends_with("opened more than 1024 handles in get (sandbox.handles)"), "{error}");
}

#[tokio::test]
async fn only_granted_environment_variables_exist() {
    let mut generation = generation();
    generation.sandbox.env = vec![("ACI_REGION".into(), "westeurope".into())];
    let probe = Probe::start(generation).await;
    assert_eq!(probe.ask("env ACI_REGION").await.unwrap(), "westeurope");
    assert!(std::env::var("PATH").is_ok());
    assert_eq!(probe.ask("env PATH").await.unwrap(), json!(null));
    assert_eq!(probe.ask("envs").await.unwrap(), json!(["ACI_REGION"]));
}

#[tokio::test]
async fn only_granted_directories_can_be_read_and_none_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let write = |path: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "content").unwrap();
    };
    write("open/deep/file");
    write("closed/file");
    std::os::unix::fs::symlink(format!("{root}/closed/file"), format!("{root}/open/link")).unwrap();
    std::os::unix::fs::symlink("../closed/file", format!("{root}/open/relative-link")).unwrap();
    let mut generation = generation();
    let open = directory.path().join("open");
    generation.sandbox.read = vec![ReadGrant { name: open.clone(), real: open.canonicalize().unwrap() }];
    let probe = Probe::start(generation).await;

    assert_eq!(probe.ask(&format!("read {root}/open/deep/file")).await.unwrap(), json!({ "Ok": "content" }));
    for path in ["closed/file", "open/../closed/file", "open/link", "open/relative-link"] {
        let read = probe.ask(&format!("read {root}/{path}")).await.unwrap();
        assert!(read["Err"].is_string(), "{path}: {read}");
    }
    for command in ["write", "remove"] {
        for path in ["open/deep/file", "open/new"] {
            let done = probe.ask(&format!("{command} {root}/{path}")).await.unwrap();
            assert!(done["Err"].is_string(), "{command} {path}: {done}");
        }
    }
    assert!(directory.path().join("open/deep/file").exists() && !directory.path().join("open/new").exists());
}

#[tokio::test]
async fn a_granted_link_that_leads_elsewhere_later_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for folder in ["one", "two"] {
        std::fs::create_dir(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join("file"), folder).unwrap();
    }
    let mut generation = generation();
    generation.sandbox.read = vec![ReadGrant { name: root.join("link"), real: root.join("one") }];
    std::os::unix::fs::symlink("two", root.join("link")).unwrap();
    let probe = Probe::start(generation).await;
    let read = probe.ask(&format!("read {}/link/file", root.display())).await.unwrap();
    assert_eq!(read, json!({ "Ok": "one" }));
}

#[tokio::test]
async fn there_are_no_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Even where HTTP to it is granted.
    let probe = Probe::start(granted(&format!("http://{address}"))).await;
    for command in [format!("connect {address}"), "connect localhost:80".into(), "bind 127.0.0.1:0".into()] {
        let answer = probe.ask(&command).await.unwrap();
        assert!(answer["Err"].is_string(), "{command}: {answer}");
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "somebody connected");
}

#[tokio::test]
async fn there_are_no_arguments_and_no_input() {
    let probe = Probe::start(generation()).await;
    assert_eq!(probe.ask("args").await.unwrap(), 0);
    assert_eq!(probe.ask("stdin").await.unwrap(), json!({ "Ok": 0 }));
    assert_eq!(probe.ask("random 1000").await.unwrap(), 1000);
}

#[tokio::test]
async fn output_becomes_log_lines_of_the_pod() {
    let logs = Logs::collect();
    let probe = Probe::start(generation()).await;
    probe.ask("print first\\nsecond\\nunfinished").await.unwrap();
    probe.runtime.create(pod("print-error a warning\\n")).await.unwrap();
    for text in ["first", "second", "unfinished"] {
        let line = logs.line_with(&format!(": {text} "));
        assert!(line.contains("INFO") && line.contains("stream=\"stdout\""), "{line}");
        assert!(line.contains("provider=\"probe\"") && line.contains("generation=1"), "{line}");
        assert!(line.contains("pod=\"default/web\""), "{line}");
    }
    assert!(logs.line_with("a warning").contains("WARN"));
}

#[tokio::test]
async fn the_log_import_has_levels_and_fields() {
    let logs = Logs::collect();
    let probe = Probe::start(generation()).await;
    for (level, shown) in [("trace", false), ("debug", true), ("info", true), ("warn", true), ("error", true)] {
        probe.ask(&format!("log {level} the {level} message")).await.unwrap();
        let lines = logs.lines();
        let line = lines.iter().find(|line| line.contains(&format!("the {level} message")));
        assert_eq!(line.is_some(), shown, "{level}");
        if let Some(line) = line {
            assert!(line.contains(&level.to_uppercase()) && line.contains("color=blue"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_guest_cannot_flood_the_log() {
    let logs = Logs::collect();
    let probe = Probe::start(with_limits(Limits { log_lines: 10, ..Limits::default() })).await;
    probe.ask("print-lines 1000").await.unwrap();
    let printed = logs.lines().iter().filter(|line| line.contains(": line ")).count();
    assert!((40..60).contains(&printed), "{printed} lines");
    tokio::time::sleep(Duration::from_millis(250)).await;
    probe.ask("print one more\\n").await.unwrap();
    let note = logs.line_with("more than 10 lines per second (sandbox.log-lines)");
    assert!(note.contains("dropped=9"), "{note}");
}

#[tokio::test]
async fn a_guest_cannot_forge_log_lines() {
    let logs = Logs::collect();
    let probe = Probe::start(generation()).await;
    probe.runtime.create(pod("log info one\n2026-01-01 ERROR forged \u{1b}[2J")).await.unwrap();
    let line = logs.line_with("forged");
    assert!(line.contains("one 2026-01-01 ERROR forged  [2J"), "{line}");
}

#[tokio::test]
async fn events_reach_the_node_once() {
    let mut probe = Probe::start(generation()).await;
    for command in ["event 1500 Pulled the image", "event 1500 Pulled the image", "event 2500 Pulled the image"] {
        probe.ask(command).await.unwrap();
    }
    let event = probe.events.recv().await.unwrap();
    assert_eq!((event.pod.uid.as_str(), event.reason.as_str(), event.message.as_str()), ("u", "Pulled", "the image"));
    assert!(event.warning && event.container.is_none());
    assert_eq!(event.at, SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
    assert_eq!(probe.events.recv().await.unwrap().at, SystemTime::UNIX_EPOCH + Duration::from_millis(2500));
    assert!(probe.events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_shared_by_all_instances_and_forgets_in_time() {
    let probe = Probe::start(generation()).await;
    probe.ask("cache-set token secret 10000").await.unwrap();
    probe.ask("trap").await.unwrap_err();
    assert_eq!(probe.ask("cache-get token").await.unwrap(), "secret", "it outlives the instance");
    assert_eq!(probe.ask("cache-replace token other new").await.unwrap(), false);
    assert_eq!(probe.ask("cache-replace token secret new").await.unwrap(), true);
    assert_eq!(probe.ask("cache-replace fresh - first").await.unwrap(), true);
    assert_eq!(probe.ask("cache-replace fresh - second").await.unwrap(), false);
    assert_eq!(probe.ask("cache-keys ").await.unwrap(), json!(["fresh", "token"]));
    assert_eq!(probe.ask("cache-keys to").await.unwrap(), json!(["token"]));
    probe.ask("cache-remove fresh").await.unwrap();
    probe.ask("cache-set token short 1000").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(probe.ask("cache-get token").await.unwrap(), json!(null));
    assert_eq!(probe.ask("cache-keys ").await.unwrap(), json!([]));
}
