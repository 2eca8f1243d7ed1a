//! Samples until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_measurement::facts::Facts;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::complaint::{Complaint, say};
use crate::difference::between;
use crate::engine::Engine;
use crate::facts::{describe, read_facts, write_facts};
use crate::hierarchy::HierarchyError;
use crate::instance::fetch_type;
use crate::lookout::{Lookout, Roots};
use crate::reading::{MachineReading, Reading};
use crate::server::serve;
use crate::store::{Store, StoreError};

/// How often a metadata service that did not answer is asked again.
const HOUR: Duration = Duration::from_secs(3_600);

/// What to sample, where, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// From one sample to the next.
    pub every: Duration,
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// The host's `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
    /// The engine's socket.
    pub socket: PathBuf,
    /// Where the rows are kept.
    pub store: PathBuf,
    /// A directory in the file system that holds the engine's data; a volume for the store is in it.
    pub data: PathBuf,
    /// Where Prometheus is answered, if anywhere.
    pub prometheus: Option<SocketAddr>,
    /// Where the cloud's metadata service is, if it is to be asked.
    pub metadata: Option<SocketAddr>,
}

/// Why sampling cannot begin, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Containers.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// Prometheus' address.
    #[error("cannot answer Prometheus at {address}: {source}; name another address by --prometheus")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Signals.
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] std::io::Error),
}

/// Samples until SIGTERM or SIGINT, then writes what is left.
///
/// # Errors
/// When it cannot begin. Once it has, troubles are said on stderr and it goes on; what the disk did not take until the
/// end is an error.
pub async fn sample(options: &Options) -> Result<(), SampleError> {
    let mut stop = Stop::new().map_err(SampleError::Signal)?;
    let every = u64::try_from(options.every.as_millis()).unwrap_or(u64::MAX);
    let store = Store::open(&options.store, every)?;
    let Options { proc, cgroup, socket, data, .. } = options;
    let roots = Roots { proc, cgroup, socket, data };
    let lookout = Lookout::new(&roots, store.last())?;
    let (latest, watched) = watch::channel(None);
    let _server = match options.prometheus {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|source| SampleError::Address { address, source })?;
            Some(tokio::spawn(serve(listener, watched)))
        }
        None => None,
    };
    let mut sampler = Sampler {
        options,
        store,
        lookout,
        latest,
        before: None,
        facts: None,
        asked: None,
        disk: Complaint::default(),
        kernel: Complaint::default(),
    };
    let mut ticks = interval(options.every);
    // Samples that were missed are not made up for: the next one says what happened since the last.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = sampler.pass(&mut ticks) => {}
        }
    }
    Ok(sampler.store.flush()?)
}

struct Sampler<'a> {
    options: &'a Options,
    store: Store,
    lookout: Lookout,
    latest: watch::Sender<Option<Arc<Reading>>>,
    before: Option<Arc<Reading>>,
    facts: Option<Facts>,
    /// When the metadata service was asked last.
    asked: Option<Instant>,
    disk: Complaint,
    kernel: Complaint,
}

impl Sampler<'_> {
    /// Waits for the next tick, looks, keeps the row. It may be dropped while it waits.
    async fn pass(&mut self, ticks: &mut tokio::time::Interval) {
        ticks.tick().await;
        let reading = self.lookout.look().await.ok_or_else(|| {
            format!(
                "cannot read stat and meminfo in {}; is the host's /proc mounted there?",
                self.options.proc.display()
            )
        });
        let Some(reading) = self.kernel.hear("nothing is sampled", reading) else { return };
        let reading = Arc::new(reading);
        if let Some(row) = self.before.as_ref().and_then(|before| between(before, &reading)) {
            self.disk.hear("sampling goes on in memory", self.store.append(&row));
        }
        self.latest.send_replace(Some(Arc::clone(&reading)));
        self.learn(&reading.machine).await;
        self.before = Some(reading);
    }

    /// Keeps what the machine is: at the start, and when it has changed.
    async fn learn(&mut self, machine: &MachineReading) {
        let known = self.facts.take();
        let is_same = known
            .as_ref()
            .is_some_and(|facts| facts.cores == machine.cores && facts.memory == machine.memory);
        let mut facts = match known {
            Some(facts) if is_same => facts,
            known => {
                let host = match known {
                    Some(known) => Some(known.host),
                    None => Engine::new(&self.options.socket).name().await.ok(),
                };
                let every = u64::try_from(self.options.every.as_millis()).unwrap_or(u64::MAX);
                describe(machine, every, host)
            }
        };
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= HOUR);
        if facts.instance.is_none()
            && due
            && let Some(service) = self.options.metadata
        {
            self.asked = Some(Instant::now());
            facts.instance = fetch_type(service).await.ok();
        }
        if read_facts(&self.options.store).as_ref() != Some(&facts)
            && (!is_same || facts.instance.is_some())
            && let Err(error) = write_facts(&self.options.store, &facts)
        {
            say(&format!("cannot keep what this machine is in {}: {error}", self.options.store.display()));
        }
        self.facts = Some(facts);
    }
}

/// The signals that end it.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
