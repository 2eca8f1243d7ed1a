//! `/proc/pressure/*`.

/// Time in which work waited for one resource, in microseconds since the machine was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// Something waited.
    pub some: u64,
    /// Everything waited.
    pub full: u64,
}

/// Reads one of the files. Kernels before 5.13 have no `full` for processors.
pub fn parse_stall(text: &str) -> Option<Stall> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    };
    Some(Stall { some: total("some")?, full: total("full").unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        let text = "some avg10=2.58 avg60=0.97 avg300=1.21 total=914026503
full avg10=0.00 avg60=0.00 avg300=0.46 total=280065709
";
        assert_eq!(parse_stall(text), Some(Stall { some: 914_026_503, full: 280_065_709 }));
        let old = "some avg10=58.20 avg60=61.25 avg300=56.47 total=17890242266\n";
        assert_eq!(parse_stall(old), Some(Stall { some: 17_890_242_266, full: 0 }));
        assert_eq!(parse_stall(""), None);
    }
}
