//! `bowline exec`: a command in a container that runs already.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;

use bowline_compose::engine;
use bowline_core::compose::observed::Container;
use bowline_kube::exec as pod;
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncWrite, DuplexStream};
use tokio::sync::watch;

use crate::cli::Context;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::cluster::Site;
use crate::operation::host::Host;
use crate::operation::target::Connected;
use crate::operation::{cluster, exec};
use crate::ui::printable;
use crate::ui::terminal::{Plain, Raw, read_input, watch_size};

/// What `exec` takes.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The target's name in bowline.toml
    target: String,
    /// The service; in a cluster also a workload by name or Kind/name
    service: String,
    /// In this pod of it, in a cluster (else the newest that is up)
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// In this container: of the pod (else the one with the service's image), or on a host of the service (else the first)
    #[arg(short, long, value_name = "CONTAINER")]
    container: Option<String>,
    /// Without a terminal, also where there is one
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Where the command is run.
enum Place<'t> {
    Host(&'t Host, Box<Container>),
    Cluster(&'t Site, pod::Place),
}

impl Place<'_> {
    /// For people.
    fn label(&self) -> String {
        match self {
            Self::Host(_, container) => container.name.clone(),
            Self::Cluster(_, place) => {
                format!("{}/{}", place.pod, place.container.as_deref().unwrap_or_default())
            }
        }
    }

    /// For machines: the pod, and the container.
    fn names(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Host(_, container) => (None, Some(&container.name)),
            Self::Cluster(_, place) => (Some(&place.pod), place.container.as_deref()),
        }
    }

    async fn run(
        &self,
        command: &[String],
        stdin: Option<DuplexStream>,
        stdout: impl AsyncWrite + Unpin,
        stderr: impl AsyncWrite + Unpin,
        terminal: Option<watch::Receiver<(u16, u16)>>,
    ) -> Outcome<i64> {
        match self {
            Self::Host(host, container) => {
                let streams = engine::Streams { stdin, stdout, stderr, terminal };
                exec::run(host, container, command, streams).await
            }
            Self::Cluster(site, place) => {
                let streams = pod::Streams { stdin, stdout, stderr, terminal };
                cluster::exec::run(site, place, command, streams).await.map(i64::from)
            }
        }
    }
}

/// Runs a command in a container that runs already; its exit code is ours. On a terminal it is connected with that.
///
/// # Errors
/// When the target cannot be reached, has no such service, or none of it runs.
pub async fn run(context: &Context, args: ExecArgs) -> Outcome<ExitCode> {
    let config = Config::load(&context.directory)?;
    let target = Connected::open(&config, &args.target).await?;
    let place = match &target {
        Connected::Cluster(site) => {
            let wanted =
                cluster::exec::Wanted { service: args.service, pod: args.pod, container: args.container };
            Place::Cluster(site, cluster::exec::find(site, &wanted).await?)
        }
        Connected::Host(host) if args.pod.is_some() => {
            return Err(Failure::invalid(format!("{} is a Docker host", host.target))
                .since("there are no pods on it")
                .hint("`--container NAME` chooses one of several containers"));
        }
        Connected::Host(host) => {
            let found = exec::find(host, &args.service, args.container.as_deref()).await?;
            Place::Host(host, Box::new(found))
        }
    };
    let code = if context.ui.json {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = place.run(&args.command, None, &mut out, &mut err, None).await?;
        let (pod, container) = place.names();
        context.ui.data(&json!({
            "target": args.target, "pod": pod, "container": container, "exit": code,
            "stdout": String::from_utf8_lossy(&out), "stderr": String::from_utf8_lossy(&err),
        }));
        code
    } else {
        connect(context, &place, &args.command, args.no_tty).await?
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn connect(context: &Context, place: &Place<'_>, command: &[String], no_tty: bool) -> Outcome<i64> {
    let (out, err) = (Plain(stdout()), Plain(stderr()));
    if no_tty || !stdin().is_terminal() || !stdout().is_terminal() {
        return place.run(command, Some(read_input()), out, err, None).await;
    }
    context.ui.faint(printable(&place.label()));
    let size = watch_size()?;
    // Back to what it was, whatever happens.
    let _raw = Raw::enter()?;
    place.run(command, Some(read_input()), out, err, Some(size)).await
}
