//! The memory and the tables of an instance: counted over all of them, and refused beyond the limit.

use prometheus_client::metrics::gauge::Gauge;
use wasmtime::ResourceLimiter;

/// Core instances, tables and memories of one component instance. A component made from Python has about 38 core
/// instances; what exceeds these bounds is no provider.
const CORE_INSTANCES: usize = 500;
const TABLES: usize = 500;
const MEMORIES: usize = 50;

/// What an instance asked for and did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Memory,
    TableElements,
}

/// What an instance has, and may have.
#[derive(Debug)]
pub(crate) struct Usage {
    limit: usize,
    table_elements: usize,
    used: usize,
    table_elements_used: usize,
    refused: Option<Refusal>,
    /// A growth failed that was permitted; said once.
    failed: bool,
    total: Gauge,
}

impl Usage {
    /// `total` is the sum over all instances of the process.
    pub(crate) fn new(limit: u64, table_elements: usize, total: Gauge) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, table_elements, used: 0, table_elements_used: 0, refused: None, failed: false, total }
    }

    /// What it asked for in vain, since it was made. Such an instance is as good as full.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        self.refused
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.total.dec_by(signed(self.used));
    }
}

impl ResourceLimiter for Usage {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // The module's own maximum: no limit of the sandbox is hit.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let added = desired.saturating_sub(current);
        let Some(sum) = self.used.checked_add(added).filter(|sum| *sum <= self.limit) else {
            self.refused = Some(Refusal::Memory);
            return Ok(false);
        };
        self.used = sum;
        self.total.inc_by(signed(added));
        Ok(true)
    }

    /// What was counted stays counted: failures come here as well that no permitted growth preceded, so a guest that was
    /// given back for each could lower its count below what it has.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::warn!("a memory of the provider cannot grow, although its limit permits it: {error:#}");
        }
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let added = desired.saturating_sub(current);
        let Some(sum) = self.table_elements_used.checked_add(added).filter(|sum| *sum <= self.table_elements) else {
            self.refused = Some(Refusal::TableElements);
            return Ok(false);
        };
        self.table_elements_used = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_for_the_sum_of_all_memories() {
        let total = Gauge::default();
        let mut usage = Usage::new(1000, 10, total.clone());
        assert!(usage.memory_growing(0, 600, None).unwrap());
        assert!(usage.memory_growing(0, 400, None).unwrap(), "a second memory, exactly at the limit");
        assert_eq!(usage.refused(), None);
        assert!(!usage.memory_growing(600, 601, None).unwrap());
        assert_eq!(usage.refused(), Some(Refusal::Memory));
        assert_eq!(total.get(), 1000);
        drop(usage);
        assert_eq!(total.get(), 0, "a dropped instance gives its memory back");
    }

    #[test]
    fn a_guest_cannot_lower_its_count_by_growth_that_fails() {
        let mut usage = Usage::new(1000, 10, Gauge::default());
        assert!(usage.memory_growing(0, 600, None).unwrap());
        usage.memory_grow_failed(wasmtime::format_err!("beyond what the memory's type can have")).unwrap();
        assert!(!usage.memory_growing(600, 1200, None).unwrap());
    }

    #[test]
    fn growth_beyond_a_modules_own_maximum_is_refused_without_blame_on_the_sandbox() {
        let mut usage = Usage::new(1000, 10, Gauge::default());
        assert!(!usage.memory_growing(0, 600, Some(500)).unwrap());
        assert!(!usage.table_growing(0, 6, Some(5)).unwrap());
        assert_eq!(usage.refused(), None);
        assert!(usage.memory_growing(0, 1000, Some(1000)).unwrap(), "and it is not counted");
        assert!(usage.table_growing(0, 10, Some(10)).unwrap());
    }

    #[test]
    fn the_limit_holds_for_the_sum_of_all_tables() {
        let mut usage = Usage::new(1000, 10, Gauge::default());
        assert!(usage.table_growing(0, 6, None).unwrap());
        assert!(usage.table_growing(0, 2, None).unwrap(), "a second table");
        assert!(usage.table_growing(2, 4, None).unwrap(), "exactly at the limit");
        assert_eq!(usage.refused(), None);
        assert!(!usage.table_growing(0, 1, None).unwrap());
        assert_eq!(usage.refused(), Some(Refusal::TableElements));
    }
}
