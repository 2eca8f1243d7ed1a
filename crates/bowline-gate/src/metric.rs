//! The last reading in Prometheus' text format.

use std::fmt::{self, Write as _};

use bowline_measurement::interval::Flow;

use crate::reading::{ContainerReading, MachineReading, Reading};

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A kind of figure: name, type, what it says.
struct Family(&'static str, &'static str, &'static str);

/// Renders a reading. Counters are the kernel's own: they begin again when a container is started anew, as Prometheus
/// expects it.
pub fn render(reading: &Reading) -> String {
    let mut text = String::with_capacity(16 << 10);
    // Writing into a string does not fail.
    let _ = write_times(&mut text, &reading.machine)
        .and_then(|()| write_sizes(&mut text, &reading.machine))
        .and_then(|()| write_containers(&mut text, reading));
    text
}

fn write_times(text: &mut String, machine: &MachineReading) -> fmt::Result {
    open(
        text,
        &Family("bowline_machine_cpu_seconds_total", "counter", "Processor time of all cores, by kind."),
    )?;
    let cpu = machine.cpu;
    for (kind, time) in [
        ("user", cpu.user),
        ("system", cpu.system),
        ("idle", cpu.idle),
        ("wait", cpu.wait),
        ("steal", cpu.steal),
    ] {
        writeln!(text, "bowline_machine_cpu_seconds_total{{kind=\"{kind}\"}} {}", Seconds(time))?;
    }
    open(
        text,
        &Family(
            "bowline_machine_waiting_seconds_total",
            "counter",
            "Time in which work waited, by resource.",
        ),
    )?;
    let waits = machine.pressure;
    for (resource, who, time) in [
        ("cpu", "some", waits.cpu),
        ("memory", "some", waits.memory),
        ("memory", "full", waits.memory_full),
        ("io", "some", waits.io),
        ("io", "full", waits.io_full),
    ] {
        let time = Seconds(time);
        writeln!(
            text,
            "bowline_machine_waiting_seconds_total{{resource=\"{resource}\",who=\"{who}\"}} {time}"
        )?;
    }
    open(text, &Family("bowline_machine_load1", "gauge", "Load over one minute."))?;
    writeln!(text, "bowline_machine_load1 {}.{:02}", machine.load / 100, machine.load % 100)
}

fn write_sizes(text: &mut String, machine: &MachineReading) -> fmt::Result {
    let sum = |flows: &mut dyn Iterator<Item = &Flow>| {
        flows.fold((0_u64, 0_u64), |(inward, outward), flow| {
            (inward.saturating_add(flow.inward), outward.saturating_add(flow.outward))
        })
    };
    let (read, written) = sum(&mut machine.io.values());
    let (received, sent) = sum(&mut machine.network.values());
    for (family, value) in [
        (Family("bowline_machine_cores", "gauge", "Processors."), u64::from(machine.cores)),
        (Family("bowline_machine_memory_bytes", "gauge", "Memory there is."), machine.memory),
        (
            Family("bowline_machine_memory_available_bytes", "gauge", "Memory left for new work."),
            machine.memory_available,
        ),
        (Family("bowline_machine_swap_bytes", "gauge", "Swap in use."), machine.swap),
        (Family("bowline_machine_disk_bytes", "gauge", "Size of the engine's file system."), machine.disk),
        (Family("bowline_machine_disk_free_bytes", "gauge", "What is free of it."), machine.disk_free),
        (Family("bowline_machine_read_bytes_total", "counter", "Read from disks."), read),
        (Family("bowline_machine_written_bytes_total", "counter", "Written to disks."), written),
        (Family("bowline_machine_received_bytes_total", "counter", "Received over the network."), received),
        (Family("bowline_machine_sent_bytes_total", "counter", "Sent over the network."), sent),
    ] {
        open(text, &family)?;
        writeln!(text, "{} {value}", family.0)?;
    }
    Ok(())
}

/// How one figure of a container is taken.
type Take = fn(&ContainerReading) -> Option<u64>;

fn write_containers(text: &mut String, reading: &Reading) -> fmt::Result {
    let named: Vec<(&str, &ContainerReading)> =
        reading.containers.values().filter_map(|one| Some((one.name.as_deref()?, one))).collect();
    let times: [(Family, Take); 2] = [
        (Family("bowline_container_cpu_seconds_total", "counter", "Processor time."), |one| Some(one.cpu)),
        (
            Family("bowline_container_throttled_seconds_total", "counter", "Time held back by its limit."),
            |one| Some(one.throttled),
        ),
    ];
    for (family, take) in times {
        write_family(text, &family, &named, take, |time| Seconds(time).to_string())?;
    }
    let limit: Take = |one| Some(one.memory_limit).filter(|limit| *limit > 0);
    let figures: [(Family, Take); 7] = [
        (Family("bowline_container_memory_bytes", "gauge", "Memory without inactive files."), |one| {
            Some(one.memory)
        }),
        (Family("bowline_container_memory_limit_bytes", "gauge", "Its limit, where it has one."), limit),
        (
            Family("bowline_container_oom_kills_total", "counter", "Processes killed for want of memory."),
            |one| Some(one.oom_kills),
        ),
        (Family("bowline_container_received_bytes_total", "counter", "Received over the network."), |one| {
            Some(one.network?.inward)
        }),
        (Family("bowline_container_sent_bytes_total", "counter", "Sent over the network."), |one| {
            Some(one.network?.outward)
        }),
        (Family("bowline_container_read_bytes_total", "counter", "Read from disks."), |one| {
            Some(one.io.inward)
        }),
        (Family("bowline_container_written_bytes_total", "counter", "Written to disks."), |one| {
            Some(one.io.outward)
        }),
    ];
    for (family, take) in figures {
        write_family(text, &family, &named, take, |value| value.to_string())?;
    }
    Ok(())
}

fn write_family(
    text: &mut String,
    family: &Family,
    containers: &[(&str, &ContainerReading)],
    take: Take,
    show: impl Fn(u64) -> String,
) -> fmt::Result {
    open(text, family)?;
    for (name, container) in containers {
        if let Some(value) = take(container) {
            writeln!(text, "{}{{name=\"{}\"}} {}", family.0, Escaped(name), show(value))?;
        }
    }
    Ok(())
}

fn open(text: &mut String, Family(name, kind, help): &Family) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Microseconds, shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A label's value: names are other people's.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_a_type_a_name_and_a_unit() {
        let mut reading = Reading::default();
        reading.machine.cpu.steal = 1_500_000;
        reading.machine.load = 105;
        let flow = Flow { inward: 7, outward: 8 };
        let one = ContainerReading {
            name: Some("a\"b\\c".into()),
            cpu: 2_000_001,
            network: Some(flow),
            ..ContainerReading::default()
        };
        reading.containers = [("1".into(), one), ("2".into(), ContainerReading::default())].into();
        let text = render(&reading);
        for line in [
            "# TYPE bowline_machine_cpu_seconds_total counter",
            "bowline_machine_cpu_seconds_total{kind=\"steal\"} 1.500000",
            "bowline_machine_load1 1.05",
            "bowline_container_cpu_seconds_total{name=\"a\\\"b\\\\c\"} 2.000001",
            "bowline_container_received_bytes_total{name=\"a\\\"b\\\\c\"} 7",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("memory_limit_bytes{"), "no limit is not a limit of nothing");
        assert!(text.lines().all(|line| line.starts_with('#') || line.split(' ').count() == 2));
    }
}
