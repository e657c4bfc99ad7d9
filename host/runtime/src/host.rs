//! What a guest may call: the state behind the imports of one instance, and the `vk:provider` imports.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Level;
use vk_egress::Failure;
use vk_provider::{PodEvent, PodId};
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    ReadGrant, Sandbox,
    bindings::{
        self,
        vk::provider::{cache, events, http, log, types},
    },
    http_hooks::{self, HttpHooks},
    lines::{LineStream, Lines},
    meter::Meter,
    shared::Shared,
    text,
    usage::Usage,
};

/// The most random bytes at once: wasmtime makes them in memory.
const RANDOM_BYTES: u64 = 1 << 20;
/// Longest key of the cache; longer ones are not kept.
const KEY_BYTES: usize = 1 << 10;
/// Bounds of what an event may say.
const REASON_BYTES: usize = 128;
const MESSAGE_BYTES: usize = 4 << 10;

/// The data of an instance's store.
pub(crate) struct Host {
    pub(crate) shared: Arc<Shared>,
    pub(crate) usage: Usage,
    pub(crate) meter: Arc<Meter>,
    pub(crate) lines: Lines,
    stdout: LineStream,
    stderr: LineStream,
    hooks: HttpHooks,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

/// A directory that is granted but cannot be opened.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl Host {
    pub(crate) fn new(shared: Arc<Shared>, sandbox: &Sandbox, usage: Usage) -> Result<Self, Unreadable> {
        let lines = Lines::new(shared.clone());
        let stdout = LineStream::stdout(lines.clone());
        let stderr = LineStream::stderr(lines.clone());
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(stdout.clone()).stderr(stderr.clone()).envs(&sandbox.env).max_random_size(RANDOM_BYTES);
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        for ReadGrant { name, real } in &sandbox.read {
            let unreadable = |reason: String| Unreadable { path: name.clone(), reason };
            let inside = name.to_str().ok_or_else(|| unreadable("its name is not UTF-8".into()))?;
            if !name.is_absolute() || !real.is_absolute() {
                return Err(unreadable("it is not an absolute path".into()));
            }
            wasi.preopened_dir(real, inside, FsPerms::ReadOnly).map_err(|error| unreadable(format!("{error:#}")))?;
        }
        let hooks = HttpHooks::new(shared.clone(), lines.clone());
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(http_hooks::FIELDS_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(shared.limits.handles);
        Ok(Self {
            usage,
            meter: Arc::new(Meter::new()),
            lines,
            stdout,
            stderr,
            hooks,
            wasi: wasi.build(),
            http,
            table,
            shared,
        })
    }

    /// Begins a call that may last until `deadline`, about a pod (`namespace/name`).
    pub(crate) fn begin(&mut self, deadline: Instant, pod: Option<Arc<str>>) {
        self.hooks.deadline = deadline;
        self.lines.set_pod(pod);
        self.meter.begin(self.shared.limits.cpu);
    }

    /// Ends a call: what its lines lack of a line break, they get.
    pub(crate) fn end(&mut self) {
        self.stdout.finish();
        self.stderr.finish();
        self.lines.set_pod(None);
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl HasData for Host {
    type Data<'a> = &'a mut Host;
}

/// Defines everything that the host offers; `world::OFFERED` lists the same.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    http_hooks::bound_requests(linker)?;
    bindings::FullProvider::add_to_linker::<_, Host>(linker, |host| host)
}

impl types::Host for Host {}

impl http::Host for Host {
    async fn send(&mut self, request: http::Request) -> Result<http::Response, http::Failure> {
        let left = self.hooks.left();
        let asked = request.timeout.map(|milliseconds| Duration::from_millis(milliseconds.into()));
        let request = vk_egress::Request {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: Bytes::from(request.body),
            timeout: Some(asked.map_or(left, |asked| asked.min(left))),
        };
        match self.shared.egress.send(request).await {
            Ok(response) => {
                Ok(http::Response { status: response.status, headers: response.headers, body: response.body.into() })
            }
            Err(Failure::Denied(reason)) => {
                let denied = format!("{reason} (asked for by {})", self.shared.name_and_version());
                self.lines.log(Level::WARN, None, &denied, &[]);
                Err(http::Failure::Denied(denied))
            }
            Err(Failure::Invalid(reason)) => Err(http::Failure::Invalid(reason)),
            Err(Failure::Connect(reason)) => Err(http::Failure::Connect(reason)),
            Err(Failure::Tls(reason)) => Err(http::Failure::Tls(reason)),
            Err(Failure::Timeout) => Err(http::Failure::Timeout),
            Err(Failure::TooLarge(limit)) => Err(http::Failure::TooLarge(limit)),
            Err(Failure::Protocol(reason)) => Err(http::Failure::Protocol(reason)),
        }
    }
}

impl cache::Host for Host {
    fn get(&mut self, key: String) -> Option<Vec<u8>> {
        self.shared.cache.get(&key)
    }

    fn set(&mut self, key: String, value: Vec<u8>, lifetime: u32) {
        if key.len() <= KEY_BYTES {
            self.shared.cache.set(key, value, Duration::from_millis(lifetime.into()));
        }
    }

    fn replace(&mut self, key: String, expected: Option<Vec<u8>>, value: Vec<u8>, lifetime: u32) -> bool {
        let lifetime = Duration::from_millis(lifetime.into());
        key.len() <= KEY_BYTES && self.shared.cache.replace(key, expected.as_deref(), value, lifetime)
    }

    fn remove(&mut self, key: String) {
        self.shared.cache.remove(&key);
    }

    fn keys(&mut self, prefix: String) -> Vec<String> {
        self.shared.cache.keys(&prefix)
    }
}

impl events::Host for Host {
    fn report(&mut self, pod: types::PodIdResult, event: events::Event) {
        // A date that the clock cannot show is not worth a failed call.
        let Some(at) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(event.at)) else { return };
        let short = |text: &str, limit| text::clean(text, limit).into_owned();
        let dropped = self.shared.events.report(PodEvent {
            pod: PodId {
                namespace: short(&pod.namespace, 253),
                name: short(&pod.name, 253),
                uid: short(&pod.uid, 128),
                handle: None,
            },
            container: event.container.map(|name| short(&name, 253)),
            at,
            warning: event.warning,
            reason: short(&event.reason, REASON_BYTES),
            message: short(&event.message, MESSAGE_BYTES),
        });
        if dropped > 0 {
            self.lines.log(Level::WARN, None, &format!("too many events at once: {dropped} were dropped"), &[]);
        }
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        let level = match level {
            log::Level::Trace => Level::TRACE,
            log::Level::Debug => Level::DEBUG,
            log::Level::Info => Level::INFO,
            log::Level::Warn => Level::WARN,
            log::Level::Error => Level::ERROR,
        };
        self.lines.log(level, None, &message, &fields);
    }
}
