//! How a call failed that the provider did not answer.

use vk_egress::Failure;
use vk_provider::{Error, ErrorKind, Fault};
use wasmtime::{Trap, WasmBacktrace, component::ResourceTableError};
use wasmtime_wasi::I32Exit;

use crate::{
    Limits, answers::Malformed, engine::STACK_BYTES, function::Function, host::Host, shared::Shared, text,
    usage::Refusal,
};

/// What is shown to people of an engine's error.
const MESSAGE_BYTES: usize = 512;
/// The longest backtrace in the log. A component chooses the names of its functions.
const BACKTRACE_BYTES: usize = 8 << 10;

/// What ended the call.
pub(crate) enum Cause {
    /// The engine gave up on the guest.
    Engine(wasmtime::Error),
    /// The time was over.
    Timeout,
    /// The answer is not acceptable.
    Malformed(Malformed),
}

/// The fault and a sentence that names the limit, its value and its key, if one was hit. The details go to the log.
pub(crate) fn explain(cause: &Cause, function: Function, host: &Host) -> Error {
    let limits = &host.shared.limits;
    let name = function.as_str();
    let (fault, message) = match cause {
        Cause::Timeout => {
            let timeout = text::duration(function.timeout(&limits.timeouts));
            let message = format!("did not answer {name} within {timeout} (sandbox.timeouts.{name})");
            (Fault::Timeout, message)
        }
        Cause::Malformed(reason) => (Fault::Answer, format!("gave a malformed answer to {name}: {reason}")),
        // A guest that gets no memory usually aborts, and one that runs into its end of time may have been busy with
        // collecting garbage: the first cause is what was refused.
        Cause::Engine(_) if host.usage.refused() == Some(Refusal::Memory) => {
            let memory = text::bytes(limits.memory);
            (Fault::Memory, format!("needed more than {memory} of memory in {name} (sandbox.memory)"))
        }
        Cause::Engine(_) if host.usage.refused() == Some(Refusal::TableElements) => {
            let elements = limits.table_elements;
            (Fault::Memory, format!("needed more than {elements} table elements in {name} (sandbox.table-elements)"))
        }
        Cause::Engine(_) if host.meter.exceeded() => {
            let cpu = text::duration(limits.cpu);
            (Fault::Cpu, format!("computed for more than {cpu} in {name} (sandbox.cpu)"))
        }
        Cause::Engine(error) => engine(error, name, limits),
    };
    tracing::warn!(
        provider = host.shared.name(),
        generation = host.shared.generation,
        function = name,
        fault = fault.as_str(),
        pod = host.lines.pod().as_deref(),
        backtrace = backtrace(cause),
        "the provider {message}"
    );
    Error::fault(fault, format!("the provider {message}"))
}

fn engine(error: &wasmtime::Error, name: &str, limits: &Limits) -> (Fault, String) {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return (Fault::Trap, format!("ended itself with status {status} in {name}"));
    }
    let root = error.root_cause().to_string();
    let root = text::clean(&root, MESSAGE_BYTES);
    // For this and the limit of handles the engine has no public type; the tests hold the texts.
    if root.contains("fuel allocated for hostcalls has been exhausted") {
        let size = text::bytes(limits.message_bytes as u64);
        return (Fault::Answer, format!("handed over more than {size} at once in {name} (sandbox.message-bytes)"));
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) || root.contains("store handle limit exceeded") {
        return (Fault::Memory, format!("opened more than {} handles in {name} (sandbox.handles)", limits.handles));
    }
    // An error without a frame of the guest comes from reading what it returned.
    let in_guest = error.downcast_ref::<WasmBacktrace>().is_some_and(|trace| !trace.frames().is_empty());
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            let stack = text::bytes(STACK_BYTES as u64);
            (Fault::Trap, format!("used more than {stack} of stack in {name}"))
        }
        None if !in_guest => (Fault::Answer, format!("gave a malformed answer to {name}: {root}")),
        _ => (Fault::Trap, format!("trapped in {name}: {root}")),
    }
}

/// The first frames of the guest's stack, in lines.
fn backtrace(cause: &Cause) -> Option<String> {
    match cause {
        Cause::Engine(error) => {
            error.downcast_ref::<WasmBacktrace>().map(|trace| text::cut(&trace.to_string(), BACKTRACE_BYTES).to_owned())
        }
        Cause::Timeout | Cause::Malformed(_) => None,
    }
}

/// The error of a session whose backend could not be connected to.
pub(crate) fn not_dialled(failure: Failure, shared: &Shared) -> Error {
    let kind = match failure {
        Failure::Denied(_) => ErrorKind::PermissionDenied,
        Failure::Invalid(_) => ErrorKind::Invalid,
        Failure::Connect(_) | Failure::Tls(_) | Failure::Timeout | Failure::TooLarge(_) | Failure::Protocol(_) => {
            ErrorKind::Unavailable
        }
    };
    let mut message = text::clean(&failure.to_string(), MESSAGE_BYTES).into_owned();
    if kind == ErrorKind::PermissionDenied {
        message = format!("{message} (asked for by {})", shared.name_and_version());
        tracing::warn!(provider = shared.name(), generation = shared.generation, "{message}");
    }
    Error::new(kind, message)
}

/// The error of a call for which no further instance could be made. Its kind never blames the pod that happened to need
/// the instance.
pub(crate) fn no_instance(error: Error) -> Error {
    if error.fault.is_some() {
        return error;
    }
    let kind = match error.kind {
        ErrorKind::Unavailable | ErrorKind::Exhausted => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error {
        kind,
        message: format!("a further instance does not accept its configuration: {}", error.message),
        retry_after: error.retry_after,
        fault: None,
    }
}
