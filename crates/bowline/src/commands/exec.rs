//! `bowline exec`: a command in a container that runs already.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;

use bowline_kube::exec::{Place, Streams};
use clap::Args;

use crate::cli::Context;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::cluster::Site;
use crate::operation::cluster::exec::{Wanted, find, gather, run as execute};
use crate::operation::target::Connected;
use crate::ui::printable;
use crate::ui::terminal::{Plain, Raw, read_input, watch_size};

/// What `exec` takes.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The target's name in bowline.toml
    target: String,
    /// The service, or the workload by name or Kind/name
    service: String,
    /// In this pod of it (else the newest that is up)
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// In this container of the pod (else the one with the service's image)
    #[arg(short, long, value_name = "CONTAINER")]
    container: Option<String>,
    /// Without a terminal, also where there is one
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs a command in a container of a cluster; its exit code is ours. On a terminal it is connected with that.
///
/// # Errors
/// When the target cannot be reached, has no such service, or none of its pods runs.
pub async fn run(context: &Context, args: ExecArgs) -> Outcome<ExitCode> {
    let config = Config::load(&context.directory)?;
    let target = Connected::open(&config, &args.target).await?;
    let site = match &target {
        Connected::Cluster(site) => site,
        Connected::Host(host) => {
            return Err(Failure::invalid(format!("{} is a Docker host", host.target))
                .since("`exec` is for clusters")
                .hint(format!("on that host: docker compose -p {} exec {} …", host.project, args.service)));
        }
    };
    let wanted = Wanted { service: args.service, pod: args.pod, container: args.container };
    let place = find(site, &wanted).await?;
    let code = if context.ui.json {
        let output = gather(site, &place, &args.command).await?;
        context.ui.data(&serde_json::json!({
            "target": args.target, "pod": place.pod, "container": place.container, "exit": output.code,
            "stdout": String::from_utf8_lossy(&output.stdout), "stderr": String::from_utf8_lossy(&output.stderr),
        }));
        output.code
    } else {
        connect(context, site, &place, &args.command, args.no_tty).await?
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn connect(
    context: &Context,
    site: &Site,
    place: &Place,
    command: &[String],
    no_tty: bool,
) -> Outcome<i32> {
    if no_tty || !stdin().is_terminal() || !stdout().is_terminal() {
        let streams = Streams {
            stdin: Some(read_input()),
            stdout: Plain(stdout()),
            stderr: Plain(stderr()),
            terminal: None,
        };
        return execute(site, place, command, streams).await;
    }
    let container = place.container.as_deref().unwrap_or_default();
    context.ui.faint(printable(&format!("{}/{container}", place.pod)));
    let size = watch_size()?;
    // Back to what it was, whatever happens.
    let _raw = Raw::enter()?;
    let streams = Streams {
        stdin: Some(read_input()),
        stdout: Plain(stdout()),
        stderr: Plain(stderr()),
        terminal: Some(size),
    };
    execute(site, place, command, streams).await
}
