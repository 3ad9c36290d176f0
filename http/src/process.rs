//! What the operating system says of this process, under the names that Prometheus' client
//! libraries use. Linux only; elsewhere these stay at 0.

use std::fs;

use fedsx_kernel::metrics as names;

/// Ticks of `/proc/<pid>/stat` in a second; the same on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Looks everything up. Blocks shortly.
pub(crate) fn sample() {
    names::BUILD.set(1.0, &[env!("CARGO_PKG_VERSION")]);
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(memory) {
        names::MEMORY.set_count(bytes, &[]);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // The directory itself is open, too.
        names::OPEN_FILES.set_count((files.count() as u64).saturating_sub(1), &[]);
    }
    if let Some(most) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(files) {
        names::MAX_FILES.set_count(most, &[]);
    }
    let stat = fs::read_to_string("/proc/self/stat").ok();
    if let Some((used, started)) = stat.as_deref().and_then(ticks) {
        names::CPU_SECONDS.counted(used / TICKS_PER_SECOND);
        let boot = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_s);
        if let Some(boot) = boot {
            names::STARTED.set_count(boot + started / TICKS_PER_SECOND, &[]);
        }
    }
}

/// Resident bytes, from `/proc/self/status`.
fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// How many files may be open, from `/proc/self/limits`.
fn files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time that was used and when the process started, in ticks; from `/proc/self/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The second field is the name in parentheses, and may itself have some.
    let (_, rest) = stat.rsplit_once(')')?;
    let number = |field: usize| rest.split_whitespace().nth(field - 3)?.parse::<u64>().ok();
    Some((number(14)? + number(15)?, number(22)?))
}

/// When the machine was started, in seconds since 1970; from `/proc/stat`.
fn boot_s(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        assert_eq!(memory("Name:\tx\nVmRSS:\t   45056 kB\n"), Some(46_137_344));
        assert_eq!(files("Limit\nMax open files            1024   4096   files\n"), Some(1024));
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 130 20 0 0 20 0 9 0 4242 1 1";
        assert_eq!(ticks(stat), Some((150, 4242)));
        assert_eq!(boot_s("cpu 1 2\nbtime 1800000000\n"), Some(1_800_000_000));
        assert_eq!(ticks(""), None);
    }
}
