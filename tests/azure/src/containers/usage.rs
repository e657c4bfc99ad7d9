//! What a tree of processes uses, as /proc has it.

use std::{fs, ops::Add};

use rustix::process::Pid;

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time of a core since the start, in nanoseconds.
    pub cpu: u64,
    /// Resident memory, in bytes. What processes share counts for each.
    pub memory: u64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }
}

/// What a process uses with all its descendants, those included that have ended and been waited for. Nothing if it is
/// gone.
pub(crate) fn of_tree(root: Pid) -> Usage {
    let mut used = Usage::default();
    let mut left = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = left.pop() {
        used = used + of_process(pid).unwrap_or_default();
        left.extend(children(pid));
    }
    used
}

/// What one process uses, with those of its children that have been waited for.
pub(crate) fn of_process(pid: i32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold blanks and parentheses. Fields are counted from 1 in proc(5), and after the
    // name the third comes first.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').skip(14 - 3).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    let second = rustix::param::clock_ticks_per_second().max(1);
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(Usage { cpu: ticks * (1_000_000_000 / second), memory: resident * page })
}

fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| children.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>())
        .collect()
}
