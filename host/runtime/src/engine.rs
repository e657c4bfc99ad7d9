//! The engine that compiles and runs every component.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};
use vk_egress::Egress;
use wasmtime::{
    Cache, CacheConfig, Config, WasmBacktraceDetails,
    component::{Component, Linker},
};

use crate::{
    EngineError, Generation, InspectError, Inspection, StartError,
    guest::GuestPre,
    host::{self, Host},
    metrics::Metrics,
    world,
};

/// The largest component that is compiled: 64 MiB. Compiling is the one thing that no other limit bounds.
pub const MAX_WASM_BYTES: usize = 64 << 20;

/// How long a component may be waited for. Compiling cannot be interrupted; it goes on, but nothing waits for it.
pub(crate) const LOAD_TIME: Duration = Duration::from_secs(5 * 60);

/// How often a computing guest is interrupted: to let other tasks run, and to compare its time with its budget.
const TICK: Duration = Duration::from_millis(10);
/// Frames of a guest's stack in the log.
const BACKTRACE_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(16);
/// Stack of a guest. An overflow traps.
pub(crate) const STACK_BYTES: usize = 1 << 20;
/// Stack of a guest and of the host functions that it calls.
const FIBER_BYTES: usize = 2 << 20;

/// Compiles and runs components. Cheap to clone; one per process is enough.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: Linker<Host>,
    metrics: Metrics,
    egress_metrics: vk_egress::Metrics,
    /// Compiling one component takes all processors already.
    compiling: Arc<Semaphore>,
    /// The epoch thread ends when this is dropped.
    _ticker: mpsc::Sender<()>,
}

/// A component that satisfies the world, ready to be instantiated, and its way out.
pub(crate) struct Program {
    pub(crate) pre: GuestPre,
    pub(crate) egress: Egress,
    /// Of the component, in hexadecimal.
    pub(crate) sha256: String,
}

impl Engine {
    /// Makes an engine. `cache` is a directory for compiled code, made if it is not there; nobody but the host's user
    /// may be able to write to it, because the host executes what it finds there. `None` compiles at every start.
    ///
    /// The metrics of all runtimes of this engine, and of what leaves them, are registered in `registry`.
    ///
    /// # Errors
    ///
    /// If the cache directory cannot be used, or the machine cannot run WebAssembly.
    pub fn new(cache: Option<&Path>, registry: &mut Registry) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError::Engine(format!("{error:#}"));
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(STACK_BYTES)
            .async_stack_size(FIBER_BYTES)
            .wasm_backtrace_max_frames(BACKTRACE_FRAMES)
            .wasm_backtrace_details(WasmBacktraceDetails::Disable)
            .cache(cache.map(open_cache).transpose()?);
        // The asynchronous ABI of the component model stays on, as it is by default: components made from JavaScript use
        // it inside. The contract's own functions are typed as synchronous, and no asynchronous import is offered.
        let wasmtime = wasmtime::Engine::new(&config).map_err(failed)?;
        let mut linker = Linker::new(&wasmtime);
        host::link(&mut linker).map_err(failed)?;
        let ticker = start_ticker(wasmtime.clone()).map_err(EngineError::Ticker)?;
        Ok(Self {
            inner: Arc::new(Inner {
                wasmtime,
                linker,
                metrics: Metrics::new(registry),
                egress_metrics: vk_egress::Metrics::new(registry),
                compiling: Arc::new(Semaphore::new(1)),
                _ticker: ticker,
            }),
        })
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Compiles a component, or loads it from the cache, compares it with the world, and reads what its way out needs
    /// from the system. One at a time, on a thread that may block.
    pub(crate) async fn load(&self, generation: &Generation) -> Result<Program, StartError> {
        let label = || generation.label.clone();
        let failed =
            |reason: &str| StartError::Component { label: label(), source: InspectError::Compile(reason.to_owned()) };
        let loading = async {
            let stopping = "the host is stopping";
            let permit = self.inner.compiling.clone().acquire_owned().await.map_err(|_| failed(stopping))?;
            let (engine, generation) = (self.clone(), generation.clone());
            let prepared = tokio::task::spawn_blocking(move || {
                // Compiling goes on if whoever waits for it goes away, and so does its turn.
                let _permit = permit;
                engine.prepare(&generation)
            });
            prepared.await.map_err(|error| failed(if error.is_panic() { "the compiler failed" } else { stopping }))?
        };
        timeout(LOAD_TIME, loading).await.unwrap_or_else(|_| Err(StartError::Slow { label: label() }))
    }

    fn prepare(&self, generation: &Generation) -> Result<Program, StartError> {
        let Generation { wasm, label, sandbox, .. } = generation;
        let label = || label.clone();
        let (inspection, pre) = self.look(wasm).map_err(|source| StartError::Component { label: label(), source })?;
        let Some(pre) = pre.filter(|_| inspection.satisfied()) else {
            return Err(StartError::World { label: label(), problems: inspection.problems.join("; ") });
        };
        let egress = Egress::new(sandbox.egress.clone(), self.inner.egress_metrics.clone())
            .map_err(|source| StartError::Egress { label: label(), source })?;
        let sha256 = Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Program { pre, egress, sha256 })
    }

    fn look(&self, wasm: &[u8]) -> Result<(Inspection, Option<GuestPre>), InspectError> {
        check_form(wasm)?;
        let began = Instant::now();
        let component = Component::from_binary(&self.inner.wasmtime, wasm)
            .map_err(|error| InspectError::Compile(format!("{error:#}")))?;
        self.inner.metrics.compile.observe(began.elapsed().as_secs_f64());
        let mut inspection = world::look(&component, wasm.len());
        if !inspection.satisfied() {
            return Ok((inspection, None));
        }
        let instance = self.inner.linker.instantiate_pre(&component);
        match instance.and_then(|instance| GuestPre::new(instance, &inspection.optional)) {
            Ok(pre) => Ok((inspection, Some(pre))),
            Err(error) => {
                inspection.problems.push(world::other_import(&error));
                Ok((inspection, None))
            }
        }
    }
}

/// Looks into a component: what it imports and exports, and what is missing. Compiles it, so this may take seconds and
/// belongs off the async threads.
///
/// # Errors
///
/// If the bytes are not a component at all. A component of another world is not an error but has
/// [`problems`](Inspection::problems).
pub fn inspect(engine: &Engine, wasm: &[u8]) -> Result<Inspection, InspectError> {
    engine.look(wasm).map(|(inspection, _)| inspection)
}

/// Refuses what is recognisable without compiling.
fn check_form(wasm: &[u8]) -> Result<(), InspectError> {
    if wasm.len() > MAX_WASM_BYTES {
        return Err(InspectError::TooLarge { bytes: wasm.len() });
    }
    let (magic, rest) = wasm.split_at_checked(4).unwrap_or((wasm, &[]));
    if magic != b"\0asm" {
        return Err(InspectError::NotWasm(if wasm.is_empty() { "it is empty" } else { "it begins with other bytes" }));
    }
    // Version and layer, 16 bits each: modules are layer 0, components layer 1.
    let Some((version, mut rest)) = rest.split_at_checked(4) else {
        return Err(InspectError::Truncated { offset: 4, expected: 4, present: rest.len() });
    };
    if version == [1, 0, 0, 0] {
        return Err(InspectError::Module);
    }
    // Every section is an identifying byte and a length before its content.
    while let Some((_, section)) = rest.split_first() {
        let (length, content) = read_length(section).ok_or_else(|| InspectError::Truncated {
            offset: wasm.len() - section.len(),
            expected: 5,
            present: section.len(),
        })?;
        rest = content.get(length..).ok_or_else(|| InspectError::Truncated {
            offset: wasm.len() - content.len(),
            expected: length,
            present: content.len(),
        })?;
    }
    Ok(())
}

/// An unsigned LEB128 number of 32 bits, and what follows it.
fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, bytes.get(index + 1..)?));
        }
    }
    None
}

fn open_cache(path: &Path) -> Result<Cache, EngineError> {
    let failed = |reason: String| EngineError::Cache { path: path.to_owned(), reason };
    let io = |error: std::io::Error| failed(error.to_string());
    make_private(path).map_err(io)?;
    let path = path.canonicalize().map_err(io)?;
    check_private(&path).map_err(failed)?;
    check_writable(&path).map_err(io)?;
    let mut config = CacheConfig::new();
    config.with_directory(path);
    Cache::new(config).map_err(|error| failed(format!("{error:#}")))
}

#[cfg(unix)]
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(format!(
            "others may write to it (mode {mode:o}), and so have the host run their code; use `chmod go-w`"
        ));
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(format!(
            "it belongs to the user {owner}, who could have the host run other code; use a directory of the user {user}"
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), String> {
    Ok(())
}

fn check_writable(path: &Path) -> std::io::Result<()> {
    let probe = path.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, "")?;
    // Another engine of this process may have removed it.
    let _ = std::fs::remove_file(&probe);
    Ok(())
}

/// Advances the epoch until the sender is dropped.
fn start_ticker(engine: wasmtime::Engine) -> std::io::Result<mpsc::Sender<()>> {
    let (alive, ended) = mpsc::channel::<()>();
    std::thread::Builder::new().name("vk-epoch".into()).spawn(move || {
        while ended.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
            engine.increment_epoch();
        }
    })?;
    Ok(alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component's header and sections of the given content lengths.
    fn component(sections: &[usize]) -> Vec<u8> {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        for length in sections {
            wasm.push(0);
            wasm.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
            wasm.extend(vec![0; *length]);
        }
        wasm
    }

    #[test]
    fn what_is_no_component_is_told_apart_without_compiling() {
        let whole = component(&[3, 300]);
        assert!(check_form(&whole).is_ok());
        assert!(matches!(check_form(b""), Err(InspectError::NotWasm(_))));
        assert!(matches!(check_form(b"\0as"), Err(InspectError::NotWasm(_))));
        assert!(matches!(check_form(b"<html></html>"), Err(InspectError::NotWasm(_))));
        assert!(matches!(check_form(b"\0asm\x01\0\0\0"), Err(InspectError::Module)));
        let mut large = whole;
        large.resize(MAX_WASM_BYTES + 1, 0);
        assert!(matches!(check_form(&large), Err(InspectError::TooLarge { .. })));
    }

    #[test]
    fn a_cut_anywhere_in_a_section_shows() {
        let whole = component(&[3, 300]);
        for end in 4..whole.len() {
            let cut = check_form(&whole[..end]);
            let between_sections = end == 8 || end == 14;
            assert_eq!(matches!(cut, Err(InspectError::Truncated { .. })), !between_sections, "{end} bytes: {cut:?}");
        }
        let Err(InspectError::Truncated { offset, expected, present }) = check_form(&whole[..20]) else { panic!() };
        assert_eq!((offset, expected, present), (17, 300, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_is_not_waited_for_for_ever() {
        let engine = Engine::new(None, &mut Registry::default()).unwrap();
        let _compiling = engine.inner.compiling.clone().acquire_owned().await.unwrap();
        let generation = Generation {
            wasm: component(&[]).into(),
            label: "aci.wasm".into(),
            startup: crate::Startup {
                owner: "owner".into(),
                node_name: "node".into(),
                operating_system: None,
                settings: "{}".into(),
            },
            sandbox: crate::Sandbox::default(),
        };
        let Err(error) = engine.load(&generation).await else { panic!() };
        assert!(error.to_string().starts_with("aci.wasm is not compiled after 300 s: "), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_epoch_thread_ends_with_the_last_engine() {
        let ticking = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            tasks
                .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
                .filter(|name| name.trim() == "vk-epoch")
                .count()
        };
        let until = |expected: usize| {
            let begin = Instant::now();
            while ticking() != expected && begin.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
            assert_eq!(ticking(), expected);
        };
        until(0);
        let engine = Engine::new(None, &mut Registry::default()).unwrap();
        let clone = engine.clone();
        until(1);
        drop(engine);
        until(1);
        drop(clone);
        until(0);
    }

    #[cfg(unix)]
    #[test]
    fn a_cache_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/by/the/engine");
        assert!(open_cache(&path).is_ok(), "made if it is not there");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = open_cache(&path).unwrap_err().to_string();
        assert!(error.contains("others may write to it (mode 777)"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_cache_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let other = rustix::process::geteuid().as_raw() + 1;
        // Only root may give a directory away.
        if std::os::unix::fs::chown(directory.path(), Some(other), None).is_ok() {
            let error = open_cache(directory.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("belongs to the user {other}")), "{error}");
        }
    }

    #[test]
    fn a_cache_is_left_empty_by_the_look_at_whether_it_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        check_writable(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(check_writable(&directory.path().join("absent")).is_err());
    }
}
