//! The commands, by verb.

use std::{
    hint::black_box,
    io::Write as _,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Outcome, invalid,
    vk::provider::{
        cache, events, http, log,
        types::{Error, ErrorKind, PodId},
    },
    wasi_http,
};

static CALLS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn run(command: &str) -> Outcome {
    let calls = CALLS.fetch_add(1, Relaxed);
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let number = |index: usize| word(index).parse::<u64>().expect("a number");
    match verb {
        "ok" => done(()),

        // Ways to fail.
        "trap" => panic!("told to trap"),
        "exit" => std::process::exit(number(0) as i32),
        "stack" => done(recurse(number(0))),
        "spin" => loop {
            black_box(());
        },
        "compute" => {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(number(0)) {
                black_box(());
            }
            done(())
        }
        "allocate" => {
            let mut kept = Vec::new();
            loop {
                kept.push(black_box(vec![1u8; 1 << 20]));
            }
        }
        "allocate-politely" => {
            let mut kept = Vec::<u8>::new();
            while kept.try_reserve_exact(kept.capacity() + (1 << 20)).is_ok() {}
            done(kept.capacity())
        }
        "sleep" => {
            wasip2::clocks::monotonic_clock::subscribe_duration(number(0) * 1_000_000).block();
            done(())
        }
        "error" => Outcome::Error(Error {
            kind: match word(0) {
                "invalid" => ErrorKind::Invalid,
                "unsupported" => ErrorKind::Unsupported,
                "not-found" => ErrorKind::NotFound,
                "conflict" => ErrorKind::Conflict,
                "unauthenticated" => ErrorKind::Unauthenticated,
                "permission-denied" => ErrorKind::PermissionDenied,
                "exhausted" => ErrorKind::Exhausted,
                "unavailable" => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            message: words[1..].join(" "),
            retry_after: (word(0) == "exhausted").then_some(1_500),
        }),

        // Answers that are none.
        "other-pod" => Outcome::OtherPod,
        "status" => Outcome::Status(rest.into()),
        "large-status" => Outcome::Status(json!({ "result": "x".repeat(number(0) as usize) }).to_string()),
        "large-handle" => Outcome::Handle("x".repeat(number(0) as usize)),
        // The host must find out by itself; everything before it trusts the type.
        "not-utf8" => Outcome::Status(unsafe { String::from_utf8_unchecked(vec![b'{', 0xff, b'}']) }),

        // What the sandbox allows.
        "env" => done(std::env::var(word(0)).ok()),
        "envs" => done(std::env::vars().map(|(key, _)| key).collect::<Vec<_>>()),
        "args" => done(std::env::args().count()),
        "stdin" => done(std::io::stdin().read_line(&mut String::new()).map_err(|error| error.to_string())),
        "read" => done(std::fs::read_to_string(rest).map_err(|error| error.to_string())),
        "write" => done(std::fs::write(rest, "x").map_err(|error| error.to_string())),
        "remove" => done(std::fs::remove_file(rest).map_err(|error| error.to_string())),
        "connect" => done(std::net::TcpStream::connect(rest).map(drop).map_err(|error| error.to_string())),
        "bind" => done(std::net::UdpSocket::bind(rest).map(drop).map_err(|error| error.to_string())),
        "random" => done(wasip2::random::random::get_random_bytes(number(0)).len()),
        "http" => done(send(word(0), word(1).parse().ok())),
        "wasi-http" => done(wasi_http::get(rest)),

        "handles" => {
            let kept: Vec<_> = (0..number(0)).map(|_| wasip2::http::types::Fields::new()).collect();
            done(kept.len())
        }
        "hoard" => done(wasi_http::hoard(number(0))),

        // What the host keeps and passes on.
        "cache-set" => {
            cache::set(word(0), word(1).as_bytes(), number(2) as u32);
            done(())
        }
        "cache-get" => done(cache::get(word(0)).map(|value| String::from_utf8(value).expect("text"))),
        "cache-replace" => {
            let expected = (word(1) != "-").then(|| word(1).as_bytes());
            done(cache::replace(word(0), expected, word(2).as_bytes(), 60_000))
        }
        "once" => match cache::replace("once", None, b"", 60_000) {
            true => done(()),
            false => Outcome::Error(invalid("not a second time")),
        },
        "cache-remove" => {
            cache::remove(word(0));
            done(())
        }
        "cache-keys" => done(cache::keys(rest)),
        "event" => {
            let pod = PodId { namespace: "n".into(), name: "p".into(), uid: "u".into(), handle: None };
            let (reason, message) = (word(1).into(), words[2..].join(" "));
            events::report(&pod, &events::Event { container: None, at: number(0), warning: true, reason, message });
            done(())
        }
        "log" => {
            let level = match word(0) {
                "trace" => log::Level::Trace,
                "debug" => log::Level::Debug,
                "info" => log::Level::Info,
                "warn" => log::Level::Warn,
                _ => log::Level::Error,
            };
            log::write(level, &words[1..].join(" "), &[("color".into(), "blue".into())]);
            done(())
        }
        "print" => {
            print!("{}", rest.replace("\\n", "\n"));
            std::io::stdout().flush().expect("flush");
            done(())
        }
        "print-error" => {
            eprint!("{}", rest.replace("\\n", "\n"));
            done(())
        }
        "print-lines" => {
            for line in 0..number(0) {
                println!("line {line}");
            }
            done(())
        }
        // How often this instance was called before.
        "calls" => done(calls),
        _ => Outcome::Error(invalid(&format!("unknown command {command}"))),
    }
}

fn done(value: impl serde::Serialize) -> Outcome {
    Outcome::Result(serde_json::to_value(value).expect("JSON"))
}

fn recurse(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(recurse(black_box(depth - 1))) + 1 }
}

fn send(url: &str, timeout: Option<u32>) -> Result<String, String> {
    let request = http::Request {
        method: "POST".into(),
        url: url.into(),
        headers: vec![("x-probe".into(), "1".into())],
        body: b"hello".to_vec(),
        timeout,
    };
    match http::send(&request) {
        Ok(response) => Ok(format!("{} {}", response.status, String::from_utf8_lossy(&response.body))),
        Err(failure) => Err(format!("{failure:?}")),
    }
}
