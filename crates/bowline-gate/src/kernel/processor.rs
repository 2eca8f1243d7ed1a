//! `/proc/stat` and `/proc/loadavg`.

use bowline_measurement::interval::CpuTime;

/// What all processors together did since the machine was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processor {
    /// How many there are.
    pub cores: u32,
    /// Their time.
    pub time: CpuTime,
}

/// Reads `/proc/stat`, whose times are in ticks, so many to the second.
pub fn parse_stat(text: &str, ticks: u64) -> Option<Processor> {
    let mut lines = text.lines();
    let mut words = lines.next()?.split_ascii_whitespace();
    if words.next()? != "cpu" {
        return None;
    }
    let tick = 1_000_000_u64.checked_div(ticks)?;
    // Old kernels have fewer columns. The ninth and tenth, time of guests, are in the first and second already.
    let mut column =
        || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0).saturating_mul(tick);
    let (user, nice, system, idle) = (column(), column(), column(), column());
    let (wait, interrupts, soft_interrupts, steal) = (column(), column(), column(), column());
    let time = CpuTime {
        user: user.saturating_add(nice),
        system: system.saturating_add(interrupts).saturating_add(soft_interrupts),
        idle,
        wait,
        steal,
    };
    let is_core = |line: &str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cores = lines.take_while(|line| is_core(line)).count();
    Some(Processor { cores: u32::try_from(cores).ok()?, time })
}

/// Reads the load over one minute from `/proc/loadavg`, in hundredths.
pub fn parse_load(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = rest.get(..2)?.parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A t2.micro under load that runs a guest's worth of nothing, kernel 5.10.
    const STAT: &str = "cpu  3345372 992886 1493643 1801238 44903 7 45948 68135 11 12
cpu0 1679590 497837 728404 928617 13868 0 15002 32826 0 0
cpu1 1665782 495048 765238 872621 31034 0 30946 35309 0 0
intr 160489387 0 0 0 14
ctxt 310987654
btime 1732453740
processes 123456
procs_running 3
procs_blocked 0
softirq 100 0 1 2 3 4 5 6 7 8 9
";

    #[test]
    fn a_guest_is_not_counted_twice_and_stolen_time_is_told() {
        let time = CpuTime {
            user: 43_382_580_000,
            system: 15_395_980_000,
            idle: 18_012_380_000,
            wait: 449_030_000,
            steal: 681_350_000,
        };
        assert_eq!(parse_stat(STAT, 100), Some(Processor { cores: 2, time }));
    }

    #[test]
    fn an_old_kernel_and_other_text_do_no_harm() {
        let old = parse_stat("cpu 1 2 3 4\ncpu0 1 2 3 4\n", 1000).unwrap();
        assert_eq!((old.cores, old.time.user, old.time.system, old.time.steal), (1, 3_000, 3_000, 0));
        assert_eq!(parse_stat("", 100), None);
        assert_eq!(parse_stat("processor: 0", 100), None);
        assert_eq!(parse_stat(STAT, 0), None);
    }

    #[test]
    fn load_is_in_hundredths() {
        assert_eq!(parse_load("3.83 3.54 3.69 5/106 26772\n"), Some(383));
        assert_eq!(parse_load("0.05 0.1 0.0 1/2 3\n"), Some(5));
        assert_eq!(parse_load("12 "), None);
        assert_eq!(parse_load(""), None);
    }
}
