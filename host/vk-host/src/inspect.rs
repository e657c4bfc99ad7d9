//! `vk-host inspect FILE`: what a component imports and exports, and what it lacks.

use std::{path::Path, process::ExitCode};

use anyhow::anyhow;
use prometheus_client::registry::Registry;
use vk_runtime::Engine;

use crate::{generation::read_wasm, usage};

/// Prints the report. A component that is no provider gets the same report, and exit code 1.
///
/// # Errors
///
/// If the file is not a component.
pub(crate) fn inspect(file: &Path) -> anyhow::Result<ExitCode> {
    let wasm = read_wasm(file)?;
    let engine = Engine::new(None, &mut Registry::default())?;
    let inspection = vk_runtime::inspect(&engine, &wasm).map_err(|error| anyhow!("{} {error}", file.display()))?;
    usage::print(&format_args!("{inspection}\n"));
    Ok(if inspection.satisfied() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
