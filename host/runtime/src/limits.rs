//! What an instance may use, and for how long.

use std::time::Duration;

/// Bounds on the instances of one provider. Each has a key in the table `[sandbox]` of the provider's file, which the
/// message names when the bound is hit.
///
/// [`Default`] gives what is stated at each field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `memory`: bytes of linear memory that one instance may have, summed over all its memories. 256 MiB. It bounds
    /// neither compiled code, which instances share, nor what the host holds for the guest: what a call hands over
    /// (`message_bytes`), and up to about 150 KiB for each of its `handles`.
    pub memory: u64,
    /// `instances`: instances at one time, and so calls at one time. 16; at least 1. Calls on pods leave two of them
    /// to `describe` and `poll`, and an eighth to logs, sessions and stats, as long as one remains for themselves. Those
    /// have up to half of all, as far as pods leave them.
    pub instances: usize,
    /// `cpu`: how long a call may compute, not counting what it waits for. 5 s, exact to about 10 ms.
    pub cpu: Duration,
    /// `message-bytes`: size of what one call hands over at once, arguments of host functions as well as answers. 16 MiB.
    pub message_bytes: usize,
    /// `handles`: resources such as streams, files and requests that an instance may have open. 1,024.
    pub handles: usize,
    /// `table-elements`: function references that an instance may have, summed over all its tables. 100,000.
    pub table_elements: usize,
    /// `cache-bytes`: keys and values of the shared cache together; the oldest go first. 64 MiB.
    pub cache_bytes: usize,
    /// `cache-entries`: entries of the shared cache; the oldest go first. 65,536.
    pub cache_entries: usize,
    /// `log-lines`: log lines per second of all instances together, with a burst of four times as many; what exceeds
    /// it is dropped and counted in one line. 250.
    pub log_lines: u32,
    /// `timeouts.*`: how long calls may take.
    pub timeouts: Timeouts,
    /// `idle`: how long an instance may be unused before it is dropped; the last one is kept. 60 s.
    pub idle: Duration,
    /// `calls`: calls after which an instance is replaced, which bounds what its program leaks. 1,000.
    pub calls: u32,
    /// `age`: time after which an instance is replaced. 1 h.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            instances: 16,
            cpu: Duration::from_secs(5),
            message_bytes: 16 << 20,
            handles: 1_024,
            table_elements: 100_000,
            cache_bytes: 64 << 20,
            cache_entries: 65_536,
            log_lines: 250,
            timeouts: Timeouts::default(),
            idle: Duration::from_secs(60),
            calls: 1_000,
            age: Duration::from_secs(60 * 60),
        }
    }
}

/// How long each call may take by the clock, waiting included. `queue` comes before, and does not count in the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// `queue`: waiting for a free instance. 5 min.
    pub queue: Duration,
    /// `configure`: once per instance, creation of the instance included. 30 s.
    pub configure: Duration,
    /// `describe`. 10 s.
    pub describe: Duration,
    /// `create`. 60 s.
    pub create: Duration,
    /// `update`. 60 s.
    pub update: Duration,
    /// `delete`. 60 s.
    pub delete: Duration,
    /// `get`. 15 s.
    pub get: Duration,
    /// `poll`. 60 s.
    pub poll: Duration,
    /// `read-logs`, `logs.read` in the WIT. 30 s.
    pub read_logs: Duration,
    /// `open-session`, `sessions.open`. 30 s.
    pub open_session: Duration,
    /// `step-session`, `sessions.step`. 5 s.
    pub step_session: Duration,
    /// `read-stats`, `stats.read`. 15 s.
    pub read_stats: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(300),
            configure: Duration::from_secs(30),
            describe: Duration::from_secs(10),
            create: Duration::from_secs(60),
            update: Duration::from_secs(60),
            delete: Duration::from_secs(60),
            get: Duration::from_secs(15),
            poll: Duration::from_secs(60),
            read_logs: Duration::from_secs(30),
            open_session: Duration::from_secs(30),
            step_session: Duration::from_secs(5),
            read_stats: Duration::from_secs(15),
        }
    }
}
