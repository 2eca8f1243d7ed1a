//! `/proc/meminfo`.

use super::value;

/// What there is of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All.
    pub total: u64,
    /// What new work could have.
    pub available: u64,
    /// Swap in use.
    pub swap: u64,
}

/// Reads `/proc/meminfo`.
pub fn parse_memory(text: &str) -> Option<Memory> {
    let bytes = |key| value(text, key).map(|kilobytes| kilobytes.saturating_mul(1024));
    // Before 3.14 no kernel says what is available; free and cached is what people took for it.
    let estimate = || Some(bytes("MemFree:")?.saturating_add(bytes("Cached:")?));
    let swap = bytes("SwapTotal:").unwrap_or(0).saturating_sub(bytes("SwapFree:").unwrap_or(0));
    Some(Memory { total: bytes("MemTotal:")?, available: bytes("MemAvailable:").or_else(estimate)?, swap })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "MemTotal:        1000544 kB
MemFree:           71520 kB
MemAvailable:     183204 kB
Buffers:            2088 kB
Cached:           212960 kB
SwapCached:         3144 kB
Active:           169640 kB
SwapTotal:       2097148 kB
SwapFree:        1873404 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
";

    #[test]
    fn sizes_are_bytes_and_swap_is_what_is_used() {
        let there = Memory { total: 1_024_557_056, available: 187_600_896, swap: 229_113_856 };
        assert_eq!(parse_memory(MEMORY), Some(there));
        assert_eq!(parse_memory("MemTotal: 10 kB\n"), None);
        let old = parse_memory("MemTotal: 10 kB\nMemFree: 2 kB\nCached: 3 kB\n");
        assert_eq!(old, Some(Memory { total: 10_240, available: 5_120, swap: 0 }));
    }
}
