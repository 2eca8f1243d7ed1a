//! Why a node does not take a pod, in words.

use std::fmt;

use crate::kube::scheduling::node;
use crate::quantity::Quantity;

/// Why a node does not take a pod: the first reason in the scheduler's order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bar {
    /// It is held back by its `schedulingGates`.
    Gated,
    /// What the node itself says.
    Node(node::Bar),
    /// There is no such node.
    Missing(String),
    /// A port of the node is taken.
    Port(String),
    /// So many pods are on it, and no more may be.
    Full(i64),
    /// Resource, asked for, free, and all there is.
    Room(Vec<(String, i64, i64, i64)>),
    Claim(String),
    Single(String),
    Volume(String),
    /// The node lacks a label by which pods are to be spread.
    Unlabelled(String),
    /// Key and value of the domain, pods there with the new one, the least elsewhere, and the difference allowed.
    Spread(String, String, [i64; 3]),
    /// No pod is there that it must be near.
    Alone(String),
    /// A pod is there that it must keep away from.
    Apart(String),
    /// A pod is there that keeps others away.
    Averse(String),
}

impl Bar {
    /// The plugin of the scheduler that says so.
    pub(super) fn plugin(&self) -> &'static str {
        match self {
            Self::Gated => "SchedulingGates",
            Self::Node(node::Bar::Cordoned) => "NodeUnschedulable",
            Self::Node(node::Bar::Taint(_) | node::Bar::NotReady) => "TaintToleration",
            Self::Node(node::Bar::Label(_) | node::Bar::Affinity) => "NodeAffinity",
            Self::Node(node::Bar::Name(_)) | Self::Missing(_) => "NodeName",
            Self::Port(_) => "NodePorts",
            Self::Full(_) | Self::Room(_) => "NodeResourcesFit",
            Self::Single(_) => "VolumeRestrictions",
            Self::Node(node::Bar::Volume(_)) | Self::Claim(_) | Self::Volume(_) => "VolumeBinding",
            Self::Unlabelled(_) | Self::Spread(..) => "PodTopologySpread",
            Self::Alone(_) | Self::Apart(_) | Self::Averse(_) => "InterPodAffinity",
        }
    }

    /// The same reason without what is of one node only: what many nodes can have in common.
    pub(super) fn generalise(self) -> Self {
        match self {
            Self::Room(all) => {
                Self::Room(all.into_iter().map(|(name, asked, ..)| (name, asked, -1, -1)).collect())
            }
            Self::Full(_) => Self::Full(-1),
            Self::Spread(key, _, [.., skew]) => Self::Spread(key, String::new(), [-1, -1, skew]),
            Self::Alone(place) => Self::Alone(key_of(place)),
            Self::Apart(place) => Self::Apart(key_of(place)),
            Self::Averse(place) => Self::Averse(key_of(place)),
            other => other,
        }
    }
}

fn key_of(place: String) -> String {
    place.split_once('=').map_or_else(|| place.clone(), |(key, _)| key.to_owned())
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gated => f.write_str("it has schedulingGates, and waits for whoever takes them away"),
            Self::Node(bar) => write!(f, "{bar}"),
            Self::Missing(name) => write!(f, "it must run on {name}, which is not there"),
            Self::Port(port) => write!(f, "its port {port} is taken"),
            Self::Full(-1) => f.write_str("it has as many pods as it may have"),
            Self::Full(pods) => write!(f, "it has the {pods} pods that it may have"),
            Self::Room(all) => f.write_str(&all.iter().map(describe).collect::<Vec<_>>().join("; ")),
            Self::Claim(why) => f.write_str(why),
            Self::Single(claim) => {
                write!(f, "another pod has the claim {claim}, which one at a time may have")
            }
            Self::Volume(volume) => write!(f, "out of reach of PersistentVolume {volume}"),
            Self::Unlabelled(key) => write!(f, "without the label {key}, by which it is to be spread"),
            Self::Spread(key, _, [-1, _, skew]) => {
                write!(f, "it would be spread unevenly over {key} (maxSkew {skew})")
            }
            Self::Spread(key, value, [here, least, skew]) => write!(
                f,
                "there would be {here} like it in {key}={value} and {least} elsewhere, and maxSkew is {skew}"
            ),
            Self::Alone(place) => write!(f, "no pod that it must be near is in its {place}"),
            Self::Apart(place) => write!(f, "a pod that it must keep away from is in its {place}"),
            Self::Averse(place) => write!(f, "a pod that keeps it away is in its {place}"),
        }
    }
}

fn describe((name, asked, free, all): &(String, i64, i64, i64)) -> String {
    let asks = amount(name, *asked);
    if *all < 0 {
        return format!("it asks for {asks}, which is not free");
    }
    format!("it asks for {asks}, {} of {} are free", amount(name, *free), amount(name, *all))
}

/// An amount as a row of the terrain has it, for people.
pub(super) fn amount(name: &str, count: i64) -> String {
    let size = count.unsigned_abs();
    let quantity = if name == "cpu" { Quantity::of_thousandths(size) } else { Quantity::whole(size) };
    let text = crate::kube::scheduling::request::amount_of(name, quantity);
    if count < 0 { format!("-{text}") } else { text }
}
