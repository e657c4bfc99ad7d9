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
mod clock;
mod cursor;
mod events;
mod group;
mod identity;
mod mapping;
mod memory;
#[cfg(test)]
mod model;
mod pods;
mod poll;
mod provider;
mod settings;
mod status;
mod time;
mod token;

vk_sdk::export!(provider::Aci);
