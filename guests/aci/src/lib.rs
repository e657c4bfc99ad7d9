//! Runs pods as container groups of Azure Container Instances.
//!
//! ```text
//!   create ─> mapping: pod -> group ─> arm: PUT ──────────────┐
//!   poll, get ─> arm: LIST, GET ─> status: group -> PodStatus ├─> token, budget ─> Azure Resource Manager
//!   read_log, open, read_usage ─> arm: logs, exec, attach … ──┘
//! ```
//!
//! What is not in the groups' tags is not kept: instances come and go. The [`vk_sdk::cache`] holds a token, what was
//! seen of each group and which requests must wait, all of which can be learned again.

mod arm;
mod attach;
mod clock;
mod contents;
mod cursor;
mod events;
mod exec;
mod group;
mod identity;
mod logs;
mod mapping;
mod memory;
#[cfg(test)]
mod model;
mod pods;
mod poll;
mod provider;
mod sessions;
mod settings;
mod stats;
mod status;
mod target;
mod time;
mod token;

vk_sdk::export!(provider::Aci: Logs + Sessions + Stats);
