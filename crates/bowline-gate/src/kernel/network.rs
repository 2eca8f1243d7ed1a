//! `/proc/PID/net/dev`.

use bowline_measurement::interval::Flow;

/// An interface's name, and what it received and sent since it is there.
pub type Interface<'a> = (&'a str, Flow);

/// What is not the way out of a machine: loopback, ends towards containers, bridges, and what is sent once more by the
/// interface that it lies on.
const INNER: [&str; 33] = [
    "br-",
    "virbr",
    "docker",
    "podman",
    "cni",
    "veth",
    "vnet",
    "tap",
    "tun",
    "flannel",
    "cali",
    "cilium",
    "lxc",
    "weave",
    "kube-",
    "nodelocaldns",
    "vxlan",
    "geneve",
    "gre",
    "sit",
    "ip6",
    "erspan",
    "ipvlan",
    "macvlan",
    "wg",
    "tailscale",
    "zt",
    "dummy",
    "ifb",
    "bond",
    "team",
    "vlan",
    "nerdctl",
];

/// Reads all interfaces.
pub fn parse_interfaces(text: &str) -> impl Iterator<Item = Interface<'_>> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let mut words = rest.split_ascii_whitespace();
        let inward = words.next()?.parse().ok()?;
        let outward = words.nth(7)?.parse().ok()?;
        Some((name.trim(), Flow { inward, outward }))
    })
}

/// Whether an interface leads out of the machine.
pub fn is_uplink(name: &str) -> bool {
    let numbered =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    // `eth0.100` is a VLAN, whose packets `eth0` carries.
    name != "lo"
        && !name.contains('.')
        && !numbered("br")
        && !INNER.iter().any(|prefix| name.starts_with(prefix))
}

/// What a container received and sent: all interfaces that it sees but loopback.
pub fn parse_traffic(text: &str) -> Flow {
    parse_interfaces(text).filter(|(name, _)| *name != "lo").fold(Flow::default(), |sum, (_, flow)| Flow {
        inward: sum.inward.saturating_add(flow.inward),
        outward: sum.outward.saturating_add(flow.outward),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 16187690314 2017617    0    0    0     0          0         0 16187690314 2017617    0    0    0     0       0          0
  eth0: 2428581393   85580    0    0    0     0          0         0  6076195   59334    0    0    0     0       0          0
  ens6:1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0
docker0:       7       0    0    0    0     0          0         0        8       0    0    2    0     0       0          0
br-6f3a0d2c11aa: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0
veth1a2b3c4: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0
eth0.100: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0
";

    #[test]
    fn only_what_leads_out_is_an_uplink() {
        let up: Vec<_> = parse_interfaces(HOST).filter(|(name, _)| is_uplink(name)).collect();
        let eth0 = Flow { inward: 2_428_581_393, outward: 6_076_195 };
        assert_eq!(up, [("eth0", eth0), ("ens6", Flow { inward: 1, outward: 3 })]);
        for name in ["enp0s3", "enX0", "wlan0", "wlp2s0", "p4p1", "brlan"] {
            assert!(is_uplink(name), "{name}");
        }
        for name in ["lo", "br0", "bond0", "wg0", "cali12ab", "tunl0", "ip6tnl0", "kube-ipvs0", "virbr0-nic"]
        {
            assert!(!is_uplink(name), "{name}");
        }
    }

    #[test]
    fn of_a_container_everything_but_loopback_counts() {
        let text = "Inter-| Receive | Transmit\n face |bytes\n lo: 5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0
  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eth1: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(parse_traffic(text), Flow { inward: 101, outward: 22 });
        assert_eq!(parse_traffic(""), Flow::default());
    }
}
