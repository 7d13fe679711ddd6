//! What a process has cost so far, read from `/proc`.

/// CPU time and memory of one process, children excluded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_s: f64,
    /// Anonymous resident memory, MiB: the page cache of mapped logs is not counted.
    pub(crate) anonymous_mib: f64,
}

impl Usage {
    /// What was used since `before`, and the memory now.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            anonymous_mib: self.anonymous_mib,
        }
    }
}

/// CPU time that the hypervisor has given to other guests while this one wanted it, seconds over all CPUs;
/// 0 on bare metal.
pub(crate) fn stolen_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let total = stat.lines().next().unwrap_or_default();
    // cpu, user, nice, system, idle, iowait, irq, softirq, steal.
    let ticks = total.split_whitespace().nth(8);
    let ticks = ticks.and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Reads the usage of `pid`; zeros when the process is gone.
pub(crate) fn of(pid: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command name may hold spaces: fields are counted from behind its closing bracket.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let anonymous_kib = status
        .lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .and_then(|v| v.split_whitespace().next())
        .and_then(|v| v.parse::<f64>().ok());
    Usage {
        cpu_s: (ticks(11) + ticks(12)) / per_second,
        anonymous_mib: anonymous_kib.unwrap_or(0.0) / 1024.0,
    }
}
