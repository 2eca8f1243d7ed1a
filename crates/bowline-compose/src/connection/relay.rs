//! The engine's socket where sshd forwards none: each connection becomes a session of `docker system dial-stdio`.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};

use super::master::Master;

/// Listens on a socket of this machine and gives its path. Ends with the master.
pub(super) fn listen(master: &Arc<Master>) -> std::io::Result<PathBuf> {
    let path = master.other_socket();
    let listener = UnixListener::bind(&path)?;
    let master = Arc::downgrade(master);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Some(master) = master.upgrade() else { return };
            let ssh = master.session("exec docker system dial-stdio");
            let sessions = master.sessions();
            tokio::spawn(async move {
                let Ok(_slot) = sessions.acquire_owned().await else { return };
                let _ = carry(stream, ssh).await;
            });
        }
    });
    Ok(path)
}

async fn carry(mut stream: UnixStream, mut ssh: tokio::process::Command) -> std::io::Result<()> {
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = ssh.spawn()?;
    if let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) {
        let (mut from, mut to) = stream.split();
        let up = async {
            let _ = tokio::io::copy(&mut from, &mut stdin).await;
            drop(stdin);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = up => {}
            copied = tokio::io::copy(&mut stdout, &mut to) => { copied?; }
        }
    }
    Ok(())
}
