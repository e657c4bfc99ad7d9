//! What is said of components that are none, or are others.

use std::{path::Path, sync::Arc};

use prometheus_client::registry::Registry;
use vk_runtime::{Engine, EngineError, Inspection, inspect};

use crate::{
    guests::{guest, scratch},
    probe::{Probe, generation},
};

fn engine() -> Engine {
    Engine::new(Some(&scratch().join("compiled")), &mut Registry::default()).unwrap()
}

fn inspected(name: &str) -> Inspection {
    inspect(&engine(), &guest(name)).unwrap()
}

async fn refusal(wasm: Arc<[u8]>) -> String {
    let mut generation = generation();
    generation.wasm = wasm;
    generation.label = "my.wasm".into();
    match Probe::try_start(generation).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_provider_satisfies_the_world() {
    let probe = inspected("probe");
    assert!(probe.satisfied(), "{:?}", probe.problems);
    assert_eq!(probe.track.as_deref(), Some("0.1"));
    assert!(probe.missing.is_empty());
    assert_eq!(probe.optional, ["logs"]);
    assert!(probe.imports.iter().all(|import| import.offered));
    assert!(probe.imports.iter().any(|import| import.name.starts_with("wasi:http/outgoing-handler@0.2")));
    assert_eq!(inspected("sessions").optional, ["sessions", "stats"]);
    let report = probe.to_string();
    assert!(report.contains("optional interfaces: logs\n"), "{report}");
    assert!(report.contains("contract: vk:provider 0.1") && report.contains("  vk:provider/node@0.1.0"), "{report}");
    assert!(report.ends_with("it satisfies the world vk:provider/provider@0.1.0"), "{report}");
}

#[test]
fn another_version_and_an_unknown_import_are_named() {
    let foreign = inspected("foreign");
    assert_eq!(foreign.track.as_deref(), Some("0.2"));
    assert_eq!(foreign.missing, ["node", "pods"]);
    let shelf = foreign.imports.iter().find(|import| import.name == "vk:provider/shelf@0.2.0").unwrap();
    assert!(!shelf.offered);
    let problems = foreign.problems.join("\n");
    assert!(problems.contains("vk:provider/node@0.2.0, but this host speaks vk:provider@0.1.0"), "{problems}");
    assert!(problems.contains("it imports vk:provider/shelf@0.2.0"), "{problems}");
    assert!(foreign.to_string().contains("vk:provider/shelf@0.2.0  (not offered)"));
}

#[test]
fn right_names_with_other_types_do_not_pass() {
    let misfit = inspected("misfit");
    assert!(misfit.missing.is_empty());
    assert_eq!(misfit.problems.len(), 5, "{misfit}");
    for (function, interface) in
        [("configure", "node"), ("create", "pods"), ("read", "logs"), ("open", "sessions"), ("read", "stats")]
    {
        let problem = format!("the function {function} of vk:provider/{interface}@0.1.0 differs from the contract (");
        assert!(misfit.problems.iter().any(|found| found.starts_with(&problem)), "{problem} in {misfit}");
    }
    let absent = misfit.problems.iter().find(|problem| problem.contains("stats")).unwrap();
    assert!(absent.contains("(it is missing): build it with the provider.wit"), "{absent}");
}

#[tokio::test]
async fn what_does_not_start_is_one_line_with_the_remedy() {
    let whole = guest("probe");
    let cut: Arc<[u8]> = whole[..whole.len() / 2].into();
    for (wasm, start, remedy) in [
        (cut, "my.wasm is truncated: a section of ", "copy it again"),
        (b"\0asm\x01\0\0\0"[..].into(), "my.wasm is a WebAssembly module, not a component", "wasm32-wasip2"),
        (b"#!/bin/sh"[..].into(), "my.wasm is not WebAssembly", ""),
        ([][..].into(), "my.wasm is not WebAssembly: it is empty", ""),
        (b"\0asm\x0d\0\x01\0"[..].into(), "my.wasm does not satisfy the world", "implement the world"),
        (b"\0asm\x0d\0\x01\0\x01\x01\x00"[..].into(), "my.wasm does not compile: ", ""),
        (
            guest("foreign"),
            "my.wasm does not satisfy the world vk:provider/provider@0.1.0: it implements",
            "use a host",
        ),
        (guest("misfit"), "my.wasm does not satisfy the world", "build it with the provider.wit"),
    ] {
        let message = refusal(wasm).await;
        assert!(message.starts_with(start), "{message}");
        assert!(message.contains(remedy), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn a_compiled_component_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let compile = || {
        let mut registry = Registry::default();
        let engine = Engine::new(Some(directory.path()), &mut registry).unwrap();
        assert!(inspect(&engine, &guest("probe")).unwrap().satisfied());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let sum = text.lines().find_map(|line| line.strip_prefix("vk_provider_compile_duration_seconds_sum ")).unwrap();
        sum.parse::<f64>().unwrap()
    };
    let first = compile();
    let compiled = files(directory.path());
    assert!(!compiled.is_empty());
    let second = compile();
    assert!(second < first / 2.0, "{second} s from the cache, {first} s without");
}

#[test]
fn a_cache_directory_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().join("cache");
    let Err(error) = Engine::new(Some(&path), &mut Registry::default()) else { panic!() };
    assert!(matches!(error, EngineError::Cache { .. }));
    let message = error.to_string();
    assert!(message.starts_with(&format!("cannot keep compiled components in {}", path.display())), "{message}");
}
