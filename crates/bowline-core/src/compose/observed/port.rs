//! Ports of the host: which two nobody can have besides each other, and which of them are taken.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::image::Platform;

/// The files in which Linux lists the sockets of a machine's network (proc_net_tcp.txt of the kernel's documentation).
pub const SOCKET_TABLES: [&str; 4] = ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"];

/// The lines of those files that are about ports that are taken, as an extended regular expression. A busy machine lists
/// tens of thousands of open connections besides.
pub const TAKEN: &str = " (0A|07) ";

/// A port of the host that somebody holds, or is to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address; an unspecified one (`0.0.0.0`, `::`) stands for all of them.
    pub address: IpAddr,
    /// The port, from 1 on.
    pub number: u16,
}

impl HostPort {
    /// A port as compose files and engines write it. No address is every address; no protocol is TCP. None where the
    /// port is 0, which leaves the choice to the engine, or the address is none.
    pub fn new(protocol: &str, address: &str, number: u16) -> Option<Self> {
        let address: IpAddr = match address {
            "" => Ipv6Addr::UNSPECIFIED.into(),
            address => address.trim_matches(['[', ']']).parse().ok()?,
        };
        let protocol = if protocol.is_empty() { "tcp".into() } else { protocol.to_ascii_lowercase() };
        (number > 0).then(|| Self { protocol, address: address.to_canonical(), number })
    }

    /// Whether one of the two keeps the other from being held. A socket on `::` takes IPv4 too unless it was told not to,
    /// and whoever publishes on one kind of wildcard mostly does on the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let everywhere = self.address.is_unspecified() || other.address.is_unspecified();
        self.number == other.number
            && self.protocol == other.protocol
            && (everywhere || self.address == other.address)
    }
}

impl std::fmt::Display for HostPort {
    /// As `docker` writes it, without the address: `8080/tcp`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// The TCP ports that are listened on and the UDP ports that are bound, by lines of [`SOCKET_TABLES`] with their file in
/// front, as `grep` gives them. What makes no sense is left out.
pub fn read_sockets(lines: &str, machine: Option<&Platform>) -> BTreeSet<HostPort> {
    // Addresses are written as numbers of the machine's own byte order. Of those that engines are made for, one is big-endian.
    let big_endian = machine.is_some_and(|machine| machine.architecture == "s390x");
    lines.lines().filter_map(|line| read_socket(line, big_endian)).collect()
}

fn read_socket(line: &str, big_endian: bool) -> Option<HostPort> {
    let (file, entry) = line.strip_prefix("/proc/net/")?.split_once(':')?;
    let mut columns = entry.split_whitespace();
    let (local, state) = (columns.nth(1)?, columns.nth(1)?);
    let protocol = match (file, state) {
        ("tcp" | "tcp6", "0A") => "tcp",
        // A UDP socket that is not connected is in the state of a closed TCP socket.
        ("udp" | "udp6", "07") => "udp",
        _ => return None,
    };
    let (address, port) = local.split_once(':')?;
    let number = u16::from_str_radix(port, 16).ok().filter(|port| *port > 0)?;
    let address = read_address(address, big_endian)?.to_canonical();
    Some(HostPort { protocol: protocol.into(), address, number })
}

fn read_address(hex: &str, big_endian: bool) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend(if big_endian { word.to_be_bytes() } else { word.to_le_bytes() });
    }
    let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
}

#[cfg(test)]
pub(in crate::compose) mod tests {
    use super::*;

    /// A port by `53/udp`, or `127.0.0.1 53/udp`.
    pub(in crate::compose) fn port(text: &str) -> HostPort {
        let (address, port) = text.rsplit_once(' ').unwrap_or(("", text));
        let (number, protocol) = port.split_once('/').unwrap();
        HostPort::new(protocol, address, number.parse().unwrap()).unwrap()
    }

    #[test]
    fn ports_overlap_by_protocol_and_address() {
        for (one, other, expected) in [
            ("53/tcp", "53/tcp", true),
            ("53/tcp", "53/udp", false),
            ("53/tcp", "54/tcp", false),
            ("53/TCP", "53/", true),
            ("127.0.0.1 53/tcp", "127.0.0.1 53/tcp", true),
            ("127.0.0.1 53/tcp", "10.0.0.5 53/tcp", false),
            ("127.0.0.1 53/tcp", "127.0.0.1 53/udp", false),
            ("127.0.0.1 53/tcp", "53/tcp", true),
            ("0.0.0.0 53/tcp", "127.0.0.1 53/tcp", true),
            (":: 53/tcp", "127.0.0.1 53/tcp", true),
            (":: 53/tcp", "0.0.0.0 53/tcp", true),
            ("::1 53/tcp", "127.0.0.1 53/tcp", false),
            ("[::1] 53/tcp", "::1 53/tcp", true),
            ("::ffff:127.0.0.1 53/tcp", "127.0.0.1 53/tcp", true),
        ] {
            assert_eq!(port(one).overlaps(&port(other)), expected, "{one} {other}");
            assert_eq!(port(other).overlaps(&port(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_port_of_the_host_is_none() {
        assert_eq!(HostPort::new("tcp", "", 0), None);
        assert_eq!(HostPort::new("tcp", "localhost", 80), None);
    }

    #[test]
    fn sockets_are_read_from_the_kernels_tables() {
        let rest =
            "00000000:00000000 00:00000000 00000000     0        0 20483 1 0000000000000000 100 0 0 10 0";
        for (file, local, state, expected) in [
            ("tcp", "00000000:1F90", "0A", Some("0.0.0.0 8080/tcp")),
            ("tcp", "0100007F:1538", "0A", Some("127.0.0.1 5432/tcp")),
            ("tcp", "0500000A:0016", "0A", Some("10.0.0.5 22/tcp")),
            ("tcp", "0500000A:0016", "01", None),
            ("tcp", "0500000A:0016", "07", None),
            ("tcp6", "00000000000000000000000000000000:0050", "0A", Some(":: 80/tcp")),
            ("tcp6", "00000000000000000000000001000000:0050", "0A", Some("::1 80/tcp")),
            ("tcp6", "B80D0120000000000000000001000000:0050", "0A", Some("2001:db8::1 80/tcp")),
            ("tcp6", "0000000000000000FFFF00000100007F:1F45", "0A", Some("127.0.0.1 8005/tcp")),
            ("udp", "3500007F:0035", "07", Some("127.0.0.53 53/udp")),
            ("udp", "3500007F:0035", "01", None),
            ("udp", "3500007F:0035", "0A", None),
            ("udp6", "00000000000000000000000000000000:14E9", "07", Some(":: 5353/udp")),
            ("udp", "00000000:0000", "07", None),
            ("raw", "00000000:0001", "07", None),
            ("tcp", "0000:1F90", "0A", None),
            ("tcp", "0000000000000000:1F90", "0A", None),
            ("tcp", "0000000\u{e9}:1F90", "0A", None),
            ("tcp", "local_address", "st", None),
        ] {
            let line = format!("/proc/net/{file}:   0: {local} 00000000:0000 {state} {rest}\n");
            let expected: BTreeSet<HostPort> = expected.into_iter().map(port).collect();
            assert_eq!(read_sockets(&line, None), expected, "{line}");
        }
        for text in
            ["", "\n", "grep: /proc/net/tcp6: No such file or directory", "/proc/net/tcp:", "tcp: 0: a"]
        {
            assert_eq!(read_sockets(text, None), BTreeSet::new(), "{text}");
        }
    }

    #[test]
    fn addresses_are_in_the_machines_own_byte_order() {
        let line = "/proc/net/tcp: 0: 7F000001:1F90 00000000:0000 0A 0\n";
        let machine = Platform::linux("s390x");
        assert_eq!(read_sockets(line, Some(&machine)), BTreeSet::from([port("127.0.0.1 8080/tcp")]));
        let machine = Platform::linux("x86_64");
        assert_eq!(read_sockets(line, Some(&machine)), BTreeSet::from([port("1.0.0.127 8080/tcp")]));
    }
}
