//! Connections: accepting, limiting and ending them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::router::{Registry, router};
use crate::stall::Stall;
use crate::store::Store;
use crate::upload::Uploads;

/// Header lines of one request, and the bytes they may have together.
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 128 * 1024;
/// How often it is looked for uploads that were left, and for content that nothing names.
const SWEEP: Duration = Duration::from_secs(60);
const COLLECT: Duration = Duration::from_secs(3600);

/// How much the registry gives to its clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// How long a client may take for a request's headers, and how long a connection may stay unused.
    pub header: Duration,
    /// How long a client may send nothing of a body, or take nothing of an answer.
    pub idle: Duration,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Uploads open at once, finished and cancelled ones not counted; more are told to come back (429).
    pub uploads: usize,
    /// How long an upload stays open that nobody continues.
    pub upload_age: Duration,
    /// How long running requests may take to finish when the registry stops.
    pub drain: Duration,
    /// How long a blob that no manifest needs is kept, at least.
    pub spare: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            connections: 256,
            uploads: 256,
            upload_age: Duration::from_secs(3600),
            drain: Duration::from_secs(10),
            spare: Duration::from_secs(24 * 3600),
        }
    }
}

/// Serves the store on the listener until `shutdown` completes, with the usual [`Limits`]. Requests that run then
/// get a few seconds to finish. Whether the address is a fit one is the caller's to ask: [`crate::check_address`].
///
/// Of a store that was [opened for reading](Store::open_for_reading) nothing can be changed through the listener.
///
/// # Errors
/// When the listener has no address. What goes wrong on a connection ends that connection alone.
pub async fn serve(listener: TcpListener, store: Store, shutdown: impl Future) -> io::Result<()> {
    serve_with(listener, store, Limits::default(), shutdown).await
}

/// [`serve`] with other limits.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    listener: TcpListener,
    store: Store,
    limits: Limits,
    shutdown: impl Future,
) -> io::Result<()> {
    let local = listener.local_addr()?.ip().to_canonical().is_loopback();
    let uploads = Uploads::new(limits.uploads);
    let registry = Registry { store, uploads, limits: limits.clone(), local };
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    if !registry.store.is_only_read() {
        tasks.spawn(sweep(registry.clone()));
    }
    let room = Arc::new(Semaphore::new(limits.connections));
    tokio::pin!(shutdown);
    loop {
        let (stream, permit) = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            Some(_) = tasks.join_next() => continue,
            _ = &mut shutdown => break,
        };
        let service = TowerToHyperService::new(router(registry.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_headers(HEADERS)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(Stall::new(stream, limits.idle)), service);
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            // A connection ends in an error when its client goes away or is too slow: nobody is left to be told.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    // Ends in an error when the time is up; the rest is aborted below either way.
    let _ = timeout(limits.drain, graceful.shutdown()).await;
    tasks.shutdown().await;
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit in the end.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it answers are only later, not wrong.
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            // The client went away, or this process has too many files open; neither is for ever.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn sweep(registry: Registry) {
    let (mut sweeps, mut collections) = (interval(SWEEP), interval(COLLECT));
    loop {
        tokio::select! {
            _ = sweeps.tick() => registry.uploads.sweep(registry.limits.upload_age),
            _ = collections.tick() => {
                let (store, spare) = (registry.store.clone(), registry.limits.spare);
                // Content that could not be removed now is tried again in an hour, and by whoever prunes by hand.
                let _ = tokio::task::spawn_blocking(move || store.collect(spare)).await;
            }
        }
    }
}
