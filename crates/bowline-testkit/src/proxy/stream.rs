//! Both kinds of sockets, and bytes that pass with a delay.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::State;

/// Where a proxy listens or leads to.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A TCP address; port 0 for a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    pub(super) fn loopback() -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(super) async fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl From<&Path> for Endpoint {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
pub(super) type Connection = Box<dyn Stream>;

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens, and gives the address with the port that it got.
    pub(super) async fn bind(endpoint: &Endpoint) -> io::Result<(Self, Endpoint)> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let bound = listener.local_addr()?;
                Ok((Self::Tcp(listener), Endpoint::Tcp(bound)))
            }
            Endpoint::Unix(path) => Ok((Self::Unix(UnixListener::bind(path)?), endpoint.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Passes bytes both ways until both ends have ended, or a cut is due.
pub(super) async fn forward(client: Connection, server: Connection, state: &State) -> io::Result<()> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    tokio::try_join!(
        pass(from_client, to_server, state, &state.upward),
        pass(from_server, to_client, state, &state.downward),
    )?;
    Ok(())
}

/// Passes bytes one way, each after the proxy's latency, without slowing the flow.
pub(super) async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    count: &AtomicU64,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(4096);
    let read = async move {
        loop {
            let mut chunk = vec![0; 16 * 1024];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            // An empty chunk is the end, which is delayed like the rest.
            if sender.send((Instant::now() + state.latency(), chunk)).await.is_err() || length == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            if chunk.is_empty() {
                break;
            }
            let granted = usize::try_from(state.allow(chunk.len() as u64)).unwrap_or(chunk.len());
            to.write_all(&chunk[..granted]).await?;
            count.fetch_add(granted as u64, Ordering::Relaxed);
            if granted < chunk.len() {
                state.cut.notify_waiters();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}
