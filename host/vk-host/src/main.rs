//! vk-host: Virtual Kubelet whose providers are WebAssembly components.
//!
//! ```text
//!  API server <──> vk_node ──calls──> vk_runtime ──> component.wasm ──> vk_egress ──> the provider's API
//!                  nodes and pods     instances,      (a provider)      grants
//!                                     limits
//! ```
//!
//! This crate reads what the operator wants and wires the others:
//!
//! - `flags`: the command line; `taint` and `config::units` read values in it. `environment`: the variables.
//! - `config`: a provider's file, its settings and its table `[sandbox]`.
//! - `providers`: bundled components by name. `generation`: from flags and files to what the runtime runs. `files`: when
//!   those change.
//! - `clients`: the API server and how to reach it. `address`: the node's address.
//! - `run`: a node, from start to stop. `reload`: the provider replaced while it runs. `admin`: metrics and health.
//! - `inspect`, `check`: looking at a component without a cluster. `log`, `usage`: what is said, and where.
//!
//! Exit codes: 0 on success and after a clean stop, 2 if the command line cannot be read, 1 for everything else; an
//! unsuccessful end is told by one line on standard error.

mod address;
mod admin;
mod check;
mod clients;
mod config;
mod environment;
mod files;
mod flags;
mod generation;
mod inspect;
mod kubelet;
mod log;
mod providers;
mod reload;
mod run;
mod taint;
mod usage;

use std::process::ExitCode;

use environment::Environment;
use flags::Invocation;

fn main() -> ExitCode {
    let environment = Environment::of_process();
    let invocation = match flags::parse(std::env::args_os(), &environment) {
        Ok(invocation) => invocation,
        Err(error) => return usage::answer(&error),
    };
    let outcome = match invocation {
        Invocation::Run(run) => run::run(*run, environment).map(|()| ExitCode::SUCCESS),
        Invocation::Check(check) => check::check(*check, environment).map(|()| ExitCode::SUCCESS),
        Invocation::Inspect(file) => inspect::inspect(&file),
        Invocation::Version => {
            let built = option_env!("VK_HOST_BUILT").unwrap_or("unknown");
            usage::print(&format_args!("Version: {}, Built: {built}\n", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        usage::print_error(&usage::causes(&error));
        ExitCode::FAILURE
    })
}
