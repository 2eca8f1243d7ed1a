//! Recommendations are those of the originals, to the last digit. `bench/reference` makes the traces and the results.

use std::collections::BTreeMap;

use bowline_core::capacity::recommendation::krr::{self, Allocation, Missing, Settings, Strategy};
use bowline_core::capacity::recommendation::{Amount, Recommendation, vpa};
use bowline_core::capacity::trace::{Kill, Sample, Trace};
use serde::Deserialize;

macro_rules! traces {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("recommendation/", $name, ".json")))),*]
    };
}

const TRACES: [(&str, &str); 17] = traces![
    "steady",
    "wave",
    "jvm",
    "growing",
    "killed",
    "minutes",
    "half_hour",
    "gaps",
    "idle",
    "sidecars",
    "bursty",
    "replicas",
    "borders",
    "levels",
    "young",
    "sparse",
    "months",
];

/// A stored trace; what its fields mean is said in `bench/reference/traces.py`.
#[derive(Deserialize)]
struct Stored {
    start: i64,
    step: u64,
    now: i64,
    pods: BTreeMap<String, BTreeMap<String, Container>>,
}

#[derive(Deserialize)]
struct Container {
    after: usize,
    request: u64,
    limit: u64,
    cpu: Vec<(usize, u64)>,
    memory: Vec<(usize, u64)>,
    gaps: Vec<(usize, usize)>,
    kills: Vec<usize>,
}

impl Stored {
    /// The traces of each container, one of each pod.
    fn containers(&self) -> BTreeMap<String, Vec<Trace>> {
        let mut containers: BTreeMap<String, Vec<Trace>> = BTreeMap::new();
        for (name, container) in self.pods.values().flatten() {
            containers.entry(name.clone()).or_default().push(self.trace(container));
        }
        containers
    }

    fn trace(&self, container: &Container) -> Trace {
        let seen = self.step * 1000;
        let at = |n: usize| self.start + i64::try_from((container.after + n + 1) as u64 * seen).unwrap();
        let samples = spread(&container.cpu)
            .zip(spread(&container.memory))
            .enumerate()
            .filter(|(n, _)| !container.gaps.iter().any(|(from, to)| (from..to).contains(&n)))
            .map(|(n, (cpu, memory))| Sample { at: at(n), seen, cpu: cpu * 1000, memory });
        let kill = |n: &usize| Kill { at: at(*n), requested: container.request, limit: container.limit };
        Trace { samples: samples.collect(), kills: container.kills.iter().map(kill).collect() }
    }
}

fn spread(runs: &[(usize, u64)]) -> impl Iterator<Item = u64> {
    runs.iter().flat_map(|(count, value)| std::iter::repeat_n(*value, *count))
}

fn stored() -> impl Iterator<Item = (&'static str, Stored)> {
    TRACES.into_iter().map(|(name, text)| (name, serde_json::from_str(text).unwrap()))
}

#[derive(Deserialize)]
struct Figures {
    cpu: u64,
    memory: u64,
}

impl Figures {
    fn amount(&self) -> Amount {
        Amount { cpu: self.cpu, memory: self.memory }
    }
}

#[derive(Deserialize)]
struct Bounds {
    target: Figures,
    lower: Figures,
    upper: Figures,
    uncapped: Figures,
}

#[test]
fn the_vertical_pod_autoscaler_recommends_the_same() {
    let expected: BTreeMap<String, BTreeMap<String, Bounds>> =
        serde_json::from_str(include_str!("recommendation/vpa.json")).unwrap();
    assert_eq!(expected.len(), TRACES.len());
    for (name, stored) in stored() {
        let recommended = vpa::recommend(&stored.containers());
        assert_eq!(recommended.len(), expected[name].len(), "{name}");
        for (container, bounds) in &expected[name] {
            let whole = Recommendation {
                target: bounds.target.amount(),
                lower: bounds.lower.amount(),
                upper: bounds.upper.amount(),
            };
            assert_eq!(recommended[container], whole, "{name}: {container}");
            // Without a policy nothing caps it.
            assert_eq!(bounds.uncapped.amount(), whole.target);
        }
    }
}

#[derive(Deserialize)]
struct Advice {
    cpu: Answer,
    memory: Answer,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Missing { missing: String },
    Known { request: u64, limit: Option<u64> },
}

impl Answer {
    fn result(&self) -> Result<Allocation, Missing> {
        match self {
            Self::Missing { missing } if missing == "no data" => Err(Missing::Data),
            Self::Missing { missing } if missing == "not enough data" => Err(Missing::Points),
            Self::Missing { missing } => panic!("{missing}"),
            Self::Known { request, limit } => Ok(Allocation { request: *request, limit: *limit }),
        }
    }
}

#[test]
fn krr_recommends_the_same() {
    let expected: BTreeMap<String, BTreeMap<String, BTreeMap<String, Advice>>> =
        serde_json::from_str(include_str!("recommendation/krr.json")).unwrap();
    assert_eq!(expected.len(), TRACES.len());
    for (name, stored) in stored() {
        for (container, replicas) in stored.containers() {
            for (how, advice) in &expected[name][&container] {
                let settings = match how.as_str() {
                    "simple" => Settings::default(),
                    "simple_limit" => Settings { strategy: Strategy::SimpleLimit, kills: false },
                    "use_oomkill_data" => Settings { strategy: Strategy::Simple, kills: true },
                    other => panic!("{other}"),
                };
                let whole = krr::Advice { cpu: advice.cpu.result(), memory: advice.memory.result() };
                assert_eq!(
                    krr::recommend(&replicas, stored.now, settings),
                    whole,
                    "{name}: {container}: {how}"
                );
            }
        }
    }
}
