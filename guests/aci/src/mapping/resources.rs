//! What containers need: cores in steps of 0.01, memory in steps of 0.1 GB (of 10^9 bytes), GPUs.
//!
//! Amounts are counted in whole numbers and divided once, at the end, so that no noise of binary fractions is sent.

use std::collections::BTreeMap;

use vk_sdk::{
    Result,
    manifest::{Container, Quantity},
};

use super::{Context, Notes, annotations};
use crate::group::{Gpu, ResourceAmounts, Resources};

const GPU: &str = "nvidia.com/gpu";
/// What ACI's own tools ask for where nothing is said.
const DEFAULT: Amounts = Amounts { cpu: 1_000, memory: 15 };
/// The service's smallest steps.
const LEAST: Amounts = Amounts { cpu: 10, memory: 1 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amounts {
    /// In thousandths of a core.
    cpu: u64,
    /// In tenths of a GB.
    memory: u64,
}

/// What a container needs, before the limits are brought within the group's total.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Needs {
    requests: Amounts,
    limits: Option<Amounts>,
    gpu: Option<Gpu>,
}

/// What a container asks for.
pub(super) fn needs(context: &Context<'_>, container: &Container, field: &str, notes: &mut Notes) -> Result<Needs> {
    let field = format!("{field}.resources");
    let asked = &container.resources;
    for (list, amounts) in [("requests", &asked.requests), ("limits", &asked.limits)] {
        for name in amounts.keys().filter(|name| !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | GPU))
        {
            notes.refuse(format!("{field}.{list}[{name}]"), "ACI has cores, memory and NVIDIA's GPUs");
        }
    }
    let limit_field = format!("{field}.limits");
    let (limit_cpu, limit_memory) = (cpu(&asked.limits, &limit_field)?, memory(&asked.limits, &limit_field)?);
    let request_field = format!("{field}.requests");
    // As Kubernetes has it, a limit without a request is a request too.
    let request_cpu = cpu(&asked.requests, &request_field)?.or(limit_cpu).unwrap_or(DEFAULT.cpu);
    let request_memory = memory(&asked.requests, &request_field)?.or(limit_memory).unwrap_or(DEFAULT.memory);
    let requests = Amounts { cpu: (request_cpu / 10 * 10).max(LEAST.cpu), memory: request_memory.max(LEAST.memory) };
    let limits = (!asked.limits.is_empty())
        .then(|| Amounts { cpu: limit_cpu.unwrap_or(requests.cpu), memory: limit_memory.unwrap_or(requests.memory) });
    Ok(Needs { requests, limits, gpu: gpu(context, &asked.limits, &limit_field, notes)? })
}

fn cpu(amounts: &BTreeMap<String, String>, field: &str) -> Result<Option<u64>> {
    Ok(quantity(amounts, "cpu", field)?.map(Quantity::milli))
}

fn memory(amounts: &BTreeMap<String, String>, field: &str) -> Result<Option<u64>> {
    Ok(quantity(amounts, "memory", field)?.map(|memory| memory.units() / 100_000_000))
}

fn quantity(amounts: &BTreeMap<String, String>, name: &str, field: &str) -> Result<Option<Quantity>> {
    let Some(text) = amounts.get(name) else { return Ok(None) };
    Quantity::parse(&format!("{field}[{name}]"), text).map(Some)
}

fn gpu(
    context: &Context<'_>,
    limits: &BTreeMap<String, String>,
    field: &str,
    notes: &mut Notes,
) -> Result<Option<Gpu>> {
    let Some(asked) = quantity(limits, GPU, field)? else { return Ok(None) };
    let (settings, field) = (context.settings, format!("{field}[{GPU}]"));
    let Some(count) = u32::try_from(asked.units()).ok().filter(|count| *count > 0) else {
        notes.refuse(field, "GPU must be a integer number");
        return Ok(None);
    };
    let (skus, region) = (&settings.gpu_skus, &settings.region);
    let sku = match context.manifest.annotation(annotations::GPU_TYPE) {
        Some(sku) if !sku.is_empty() && !skus.is_empty() => {
            let known = skus.iter().find(|known| known.eq_ignore_ascii_case(sku));
            let listed = skus.join(" ");
            known.ok_or(format!(
                "the pod requires GPU SKU {sku}, but ACI only supports SKUs [{listed}] in region {region}"
            ))
        }
        _ => skus.first().ok_or(format!(
            "the pod requires GPU resource, but ACI doesn't provide GPU enabled container group in region {region}"
        )),
    };
    match sku {
        Ok(sku) => Ok(Some(Gpu { count, sku: sku.clone() })),
        Err(why) => {
            notes.refuse(field, why);
            Ok(None)
        }
    }
}

/// Brings limits between a container's own requests and those of the whole group, which is all that the service
/// reserves: it refuses other limits. `needs` has the container's name with each.
pub(super) fn clamp_limits(needs: &mut [(&str, Needs)], notes: &mut Notes) {
    let total = |amount: fn(&Amounts) -> u64| {
        needs.iter().fold(0_u64, |sum, (_, needs)| sum.saturating_add(amount(&needs.requests)))
    };
    let total = Amounts { cpu: total(|amounts| amounts.cpu), memory: total(|amounts| amounts.memory) };
    let mut clamped = Vec::new();
    for (name, needs) in needs {
        let Some(limits) = &mut needs.limits else { continue };
        let asked = *limits;
        limits.cpu = asked.cpu.min(total.cpu).max(needs.requests.cpu);
        limits.memory = asked.memory.min(total.memory).max(needs.requests.memory);
        if limits.cpu < asked.cpu {
            let (from, to) = (divided(asked.cpu, 1_000), divided(limits.cpu, 1_000));
            clamped.push(format!("container {name}: cpu {from} is {to}"));
        }
        if limits.memory < asked.memory {
            let (from, to) = (divided(asked.memory, 10), divided(limits.memory, 10));
            clamped.push(format!("container {name}: memory {from} GB is {to} GB"));
        }
    }
    if !clamped.is_empty() {
        let message = format!(
            "limits are cut to what all containers request together, as ACI has no more: {}",
            clamped.join("; ")
        );
        notes.warn("LimitsClamped", message);
    }
}

/// The number nearest to the fraction: it prints as the decimal fraction that it is.
fn divided(amount: u64, by: u32) -> f64 {
    // Exact up to 2^53; more cores and memory than that there are none.
    amount as f64 / f64::from(by)
}

impl Needs {
    pub(super) fn resources(&self) -> Resources {
        let amounts = |amounts: Amounts| ResourceAmounts {
            cpu: Some(divided(amounts.cpu, 1_000)),
            memory_in_gb: Some(divided(amounts.memory, 10)),
            gpu: self.gpu.clone(),
        };
        Resources { requests: amounts(self.requests), limits: self.limits.map(amounts) }
    }
}
