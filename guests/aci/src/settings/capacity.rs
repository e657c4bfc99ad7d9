//! What the node offers.

use vk_sdk::{Result, manifest};

use super::{
    Capacity,
    file::{File, Quantity},
    surroundings::Surroundings,
};

pub(super) fn read(file: &File, surroundings: &dyn Surroundings) -> Result<Capacity> {
    let amount = |variable: &str, key: &str, set: &Option<Quantity>| -> Result<Option<String>> {
        let (place, text) = match (surroundings.variable(variable), set) {
            (Some(text), _) => (variable, text),
            (None, Some(quantity)) => (key, quantity.to_string()),
            (None, None) => return Ok(None),
        };
        manifest::Quantity::parse(place, &text)?;
        Ok(Some(text))
    };
    let or = |amount: Option<String>, default: &str| amount.unwrap_or_else(|| default.to_owned());
    Ok(Capacity {
        cpu: or(amount("ACI_QUOTA_CPU", "CPU", &file.cpu)?, "10000"),
        memory: or(amount("ACI_QUOTA_MEMORY", "Memory", &file.memory)?, "4Ti"),
        pods: or(amount("ACI_QUOTA_POD", "Pods", &file.pods)?, "5000"),
        gpu: match amount("ACI_QUOTA_GPU", "GPU", &file.gpu)? {
            None if file.gpu_skus.as_ref().is_some_and(|skus| !skus.is_empty()) => Some("100".to_owned()),
            gpu => gpu,
        },
    })
}
