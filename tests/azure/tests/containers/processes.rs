//! Commands, signals, logs, usage and probes.

use std::{
    num::NonZeroU32,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, test_kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use vk_azure::containers::{self, Action, Container, Probe, StartError};

use crate::fixture::{Fixture, LIMIT, spec, until};

#[tokio::test]
async fn containers_can_be_started_here() {
    containers::check().await.unwrap();
}

#[tokio::test]
async fn a_container_ends_with_the_code_of_its_command() {
    assert_eq!(
        Fixture::shell("echo out; echo err >&2; echo out; exit 7").await.ended().await,
        (7, "out\nerr\nout\n".into())
    );
    assert_eq!(Fixture::new(&["true"]).await.ended().await, (0, String::new()));
}

#[tokio::test]
async fn a_command_that_is_not_there_ends_with_127_and_says_so() {
    let (code, log) = Fixture::new(&["/no/such program", "argument"]).await.ended().await;
    assert_eq!(code, 127);
    assert!(log.contains("/no/such program"), "{log}");
}

#[tokio::test]
async fn words_and_variables_come_through_as_they_are() {
    let words = ["it's", "a \"word\"", "$HOME `id` \\ *", "", "two\nlines", "-n", "ü"];
    let script = r#"for word in "$@"; do printf '<%s>' "$word"; done; printf '<%s>' "$QUOTED""#;
    let command: Vec<&str> = ["sh", "-c", script, "sh"].into_iter().chain(words).collect();
    let quoted = "a'b$c\n=d";
    let with = |spec: &mut containers::Spec| spec.environment = vec![("QUOTED".into(), quoted.into())];
    let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(Fixture::with(&command, with).await.ended().await, (0, format!("{expected}<{quoted}>")));

    let with = |spec: &mut containers::Spec| spec.environment = vec![("my.dotted-name".into(), "dotted".into())];
    assert_eq!(Fixture::with(&["printenv", "my.dotted-name"], with).await.ended().await, (0, "dotted\n".into()));
}

#[tokio::test]
async fn an_image_without_a_command_says_what_it_was_given_and_waits_for_its_end() {
    let with = |spec: &mut containers::Spec| spec.environment = vec![("TOKEN".into(), "secret".into())];
    let fixture = Fixture::with(&[], with).await;
    fixture.has_written("registry.test/image:1 started with the variables: TOKEN MARK\n").await;
    assert_eq!(fixture.container.exit(), None);
    assert_eq!(fixture.container.terminate(LIMIT).await.code, 0);
    assert!(!fixture.container.log(None, false).contains("secret"));
}

#[tokio::test]
async fn what_does_not_heed_sigterm_is_killed_with_all_its_children() {
    let fixture =
        Fixture::shell("trap 'echo no' TERM; setsid sleep 1000 & sleep 1000 & echo up; while :; do wait; done").await;
    fixture.has_written("up").await;
    let processes = inside(fixture.folder());
    assert!(processes.len() >= 3, "{processes:?}");
    let exit = fixture.container.terminate(Duration::from_millis(200)).await;
    assert_eq!(exit.code, 128 + 9);
    assert!(fixture.container.log(None, false).ends_with("no\n"));
    gone(&processes).await;
}

#[tokio::test]
async fn with_the_first_process_all_others_end() {
    let fixture = Fixture::shell("setsid sleep 1000 & echo up; read -r line </dev/zero").await;
    fixture.has_written("up").await;
    let processes = inside(fixture.folder());
    assert_eq!(fixture.container.kill().await.code, 128 + 9);
    gone(&processes).await;
}

#[tokio::test]
async fn dropping_leaves_no_process() {
    let fixture = Fixture::shell("setsid sleep 1000 & sleep 1000 & echo up; wait").await;
    fixture.has_written("up").await;
    let processes = inside(fixture.folder());
    assert!(processes.len() >= 3, "{processes:?}");
    let other = fixture.container.clone();
    drop(fixture);
    assert!(processes.iter().all(|pid| test_kill_process(*pid).is_ok()), "a clone is left");
    drop(other);
    gone(&processes).await;
}

/// The variable that tells [`a_process_that_holds_a_container`] that it is such.
const HOLDS: &str = "VK_AZURE_TEST_HOLDS";

#[tokio::test]
async fn when_the_simulator_is_killed_so_are_its_containers() {
    let mut holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::a_process_that_holds_a_container", "--nocapture"])
        .env(HOLDS, "1")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(holder.stdout.take().unwrap()).lines();
    let folder = loop {
        let line = lines.next_line().await.unwrap().expect("it ends too soon");
        if let Some((_, folder)) = line.split_once("holds ") {
            break std::path::PathBuf::from(folder);
        }
    };
    let processes = inside(&folder);
    assert!(processes.len() >= 3, "{processes:?}");
    holder.kill().await.unwrap();
    gone(&processes).await;
    std::fs::remove_dir(&folder).unwrap();
}

#[tokio::test]
async fn a_process_that_holds_a_container() {
    if std::env::var_os(HOLDS).is_none() {
        return;
    }
    let fixture = Fixture::shell("setsid sleep 1000 & sleep 1000 & echo up; wait").await;
    fixture.has_written("up").await;
    println!("holds {}", fixture.folder().display());
    fixture.container.exited().await;
}

#[tokio::test]
async fn a_command_cannot_hold_what_no_process_can() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Container::start(spec(folder.path(), &["a\0b"])).await;
    assert!(matches!(refused, Err(StartError::Command)));
    let mut variable = spec(folder.path(), &["true"]);
    variable.environment = vec![("A=B".into(), "c".into())];
    assert!(matches!(Container::start(variable).await, Err(StartError::Environment(name)) if name == "A=B"));
}

#[tokio::test]
async fn a_root_that_cannot_be_made_is_explained_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = Container::start(spec(&missing, &["true"])).await.err().unwrap().to_string();
    assert!(error.starts_with("a container's root could not be made: "), "{error}");
    assert!(error.contains("missing") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn lines_have_the_times_of_the_clock_given() {
    let now = Arc::new(Mutex::new("2030-01-02T03:04:05.000000006Z".parse::<Timestamp>().unwrap()));
    let shown = now.clone();
    let fixture = Fixture::with(&["sh", "-c", "echo one; read -r line </fifo; echo two"], |spec| {
        spec.command[2] = "mkfifo /fifo; echo one; read -r line </fifo; echo two; echo three".into();
        spec.clock = Arc::new(move || *shown.lock().unwrap());
    })
    .await;
    fixture.has_written("one\n").await;
    *now.lock().unwrap() += SignedDuration::from_hours(1);
    let go = Probe { action: Action::Exec(vec!["sh".into(), "-c".into(), "echo go >/fifo".into()]), ..probe() };
    // The container may end before the program that lets it.
    let _success = go.succeeds(&fixture.container).await;
    let exit = fixture.exited().await;
    assert_eq!(exit.at, *now.lock().unwrap());
    let lines = "2030-01-02T04:04:05.000000006Z two\n2030-01-02T04:04:05.000000006Z three\n";
    assert_eq!(fixture.container.log(None, true), format!("2030-01-02T03:04:05.000000006Z one\n{lines}"));
    assert_eq!(fixture.container.log(Some(2), true), lines);
    assert_eq!(fixture.container.log(Some(1), false), "three\n");
    assert_eq!(fixture.container.log(Some(0), false), "");
    assert_eq!(fixture.container.log(Some(9), false), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_log_is_bounded_and_shorter_once_the_container_has_ended() {
    let fixture = Fixture::shell("mkfifo /fifo; seq 1000000; echo done; read -r line </fifo").await;
    fixture.has_written("done").await;
    let log = fixture.container.log(None, false);
    assert!((4 << 20) - 100 < log.len() && log.len() <= 4 << 20, "{}", log.len());
    assert!(log.ends_with("\n999999\n1000000\ndone\n"));
    fixture.container.kill().await;
    let log = fixture.container.log(None, false);
    assert_eq!(log.lines().count(), 1000);
    assert!(log.ends_with("\n1000000\ndone\n"));

    let (_, log) = Fixture::shell("yes $(seq 100) | head -c 100000; echo; echo end").await.ended().await;
    assert!(log.len() <= 16 << 10 && log.ends_with("\nend\n"), "{}", log.len());
}

#[tokio::test]
async fn usage_is_that_of_the_processes() {
    let fixture =
        Fixture::shell("sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo worked; sleep 1000").await;
    fixture.has_written("worked").await;
    let used = fixture.container.usage();
    assert!(used.cpu >= 10_000_000, "{used:?}");
    assert!(used.memory >= 100_000, "{used:?}");
    let overhead = fixture.container.overhead();
    assert!(overhead.memory > 0 && overhead.cpu < used.cpu, "{overhead:?}");
    fixture.container.kill().await;
    assert_eq!(fixture.container.usage(), containers::Usage::default());
}

#[tokio::test]
async fn a_probe_fails_after_so_many_failures_in_a_row() {
    let fixture = Fixture::shell("touch /alive; echo up; sleep 1000").await;
    fixture.has_written("up").await;
    let exec = |script: &str| Action::Exec(["sh", "-c", script].map(str::to_owned).into());
    assert!(Probe { action: exec("test -e /alive"), ..probe() }.succeeds(&fixture.container).await);
    // Succeeds every third time, so never fails three times in a row; the fourth kind of answer ends the container.
    let counting =
        "echo x >>/count; n=$(wc -l </count); [ $n -lt 9 ] || rm -f /alive; [ $((n % 3)) = 0 ] && test -e /alive";
    let failing = Probe { action: exec(counting), failure_threshold: NonZeroU32::new(3).unwrap(), ..probe() };
    assert!(tokio::time::timeout(LIMIT, failing.fails(&fixture.container)).await.unwrap());
    let count = Probe { action: exec("test $(wc -l </count) = 9"), ..probe() };
    assert!(count.succeeds(&fixture.container).await, "{}", fixture.container.log(None, false));
}

#[tokio::test]
async fn a_probe_ends_with_its_container_and_kills_what_takes_too_long() {
    let fixture = Fixture::shell("echo up; sleep 1000").await;
    fixture.has_written("up").await;
    let slow = Probe {
        action: Action::Exec(vec!["sleep".into(), "998".into()]),
        timeout: Duration::from_millis(50),
        ..probe()
    };
    assert!(!slow.succeeds(&fixture.container).await);
    until("the end of the probe", || !commands(fixture.folder()).iter().any(|line| line.contains("998"))).await;
    let patient = Probe { failure_threshold: NonZeroU32::MAX, ..slow };
    let (fails, _exit) = tokio::join!(patient.fails(&fixture.container), fixture.container.kill());
    assert!(!fails);
}

#[tokio::test]
async fn a_probe_over_http_looks_at_the_status() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let healthy = request[..read].starts_with(b"GET /healthz?deep=1 HTTP/1.1\r\n");
            let answer = if healthy { "HTTP/1.1 302 Found\r\n\r\n" } else { "HTTP/1.1 503 Down\r\n\r\n" };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let fixture = Fixture::new(&["sleep", "1000"]).await;
    let get = |port, path: &str| Probe { action: Action::HttpGet { port, path: path.into() }, ..probe() };
    assert!(get(port, "/healthz?deep=1").succeeds(&fixture.container).await);
    assert!(get(port, "healthz?deep=1").succeeds(&fixture.container).await);
    assert!(!get(port, "/").succeeds(&fixture.container).await);
    assert!(!get(1, "/").succeeds(&fixture.container).await);
}

fn probe() -> Probe {
    Probe {
        action: Action::Exec(Vec::new()),
        initial_delay: Duration::ZERO,
        period: Duration::from_millis(10),
        timeout: LIMIT,
        failure_threshold: NonZeroU32::MIN,
    }
}

/// The processes of the container with a folder.
pub(crate) fn inside(folder: &Path) -> Vec<Pid> {
    let mark = format!("MARK={}", folder.display()).into_bytes();
    let of = |pid: i32| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| of(*pid).split(|byte| *byte == 0).any(|variable| *variable == mark))
        .filter_map(Pid::from_raw)
        .collect()
}

fn commands(folder: &Path) -> Vec<String> {
    let read = |pid: &Pid| std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    inside(folder).iter().filter_map(|pid| read(pid).ok()).collect()
}

async fn gone(processes: &[Pid]) {
    until("the end of all processes", || processes.iter().all(|pid| test_kill_process(*pid).is_err())).await;
}
