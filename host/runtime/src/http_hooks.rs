//! `wasi:http`, sent the same way as the `http` import, and how much of it the host holds for a guest.
//!
//! What a guest puts into a request before it is sent is in the host's memory, outside of the guest's limit: each
//! resource is small, and their number is bounded by the limit of handles.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use tokio::time::Instant;
use tracing::Level;
use vk_egress::Failure;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView as _,
    p2::bindings::http::types::{HostOutgoingRequest as _, Method, OutgoingRequest},
};

use crate::{host::Host, lines::Lines, shared::Shared};

/// The most that one `fields` resource holds.
pub(crate) const FIELDS_BYTES: usize = 32 << 10;
/// The most of an outgoing body that is written at once; two such pieces wait for the network.
const CHUNK_BYTES: usize = 16 << 10;
/// The longest method that has no name of its own in `wasi:http`.
const METHOD_BYTES: usize = 64;
/// The longest authority: a DNS name has 253 bytes, the path of a socket 108 before it is percent-encoded.
const AUTHORITY_BYTES: usize = 1 << 10;
/// The interface as the linker has it: of the version that wasmtime was built with.
const TYPES: &str = "wasi:http/types@0.2.12";

pub(crate) struct HttpHooks {
    shared: Arc<Shared>,
    lines: Lines,
    /// When the present call ends.
    pub(crate) deadline: Instant,
}

type Outcome<T> = Result<T, Error>;
type Transmission = Box<dyn Future<Output = Outcome<()>> + Send>;

impl HttpHooks {
    pub(crate) fn new(shared: Arc<Shared>, lines: Lines) -> Self {
        Self { shared, lines, deadline: Instant::now() }
    }

    /// How long a request may take: what is left of the call, less a little in which the guest can say so.
    pub(crate) fn left(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left - (left / 10).min(Duration::from_millis(500))
    }
}

impl WasiHttpHooks for HttpHooks {
    /// The egress sets it by itself, and refuses one that comes from a guest.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_outcome: Transmission,
    ) -> Box<dyn Future<Output = Outcome<(http::Response<WasiBody>, Transmission)>> + Send> {
        let options = options.unwrap_or_default();
        let timeouts = vk_egress::Timeouts {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
            total: Some(self.left()),
        };
        let (shared, lines) = (self.shared.clone(), self.lines.clone());
        Box::new(async move {
            match shared.egress.forward(request, timeouts).await {
                Ok(response) => {
                    let response = response.map(|body| body.map_err(error).boxed_unsync());
                    Ok((response, Box::new(async { Ok(()) }) as Transmission))
                }
                Err(failure) => {
                    // The error codes of wasi:http carry no text: the reason is said in the log. A timeout has no other.
                    if failure != Failure::Timeout {
                        let reason = format!("{failure} (asked for by {})", shared.name_and_version());
                        lines.log(Level::WARN, None, &reason, &[]);
                    }
                    Err(error(failure))
                }
            }
        })
    }
}

/// Bounds the parts of a request whose length wasmtime does not: puts functions that refuse what is too long before
/// those that the linker has.
pub(crate) fn bound_requests(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Host>, (request, method): (Resource<OutgoingRequest>, Method)| {
            let too_long = matches!(&method, Method::Other(name) if name.len() > METHOD_BYTES);
            Ok((if too_long { Err(()) } else { store.data_mut().http().set_method(request, method)? },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Host>, (request, authority): (Resource<OutgoingRequest>, Option<String>)| {
            let too_long = authority.as_ref().is_some_and(|authority| authority.len() > AUTHORITY_BYTES);
            Ok((if too_long { Err(()) } else { store.data_mut().http().set_authority(request, authority)? },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn error(failure: Failure) -> Error {
    match failure {
        Failure::Denied(_) => Error::HttpRequestDenied,
        Failure::Invalid(reason) => Error::InternalError(Some(reason)),
        Failure::Connect(_) => Error::ConnectionRefused,
        Failure::Tls(_) => Error::TlsProtocolError,
        Failure::Timeout => Error::HttpResponseTimeout,
        Failure::TooLarge(limit) => Error::HttpResponseBodySize(Some(limit.into())),
        Failure::Protocol(_) => Error::HttpProtocolError,
    }
}
