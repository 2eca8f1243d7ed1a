//! `bowline registry serve`.

use std::net::SocketAddr;

use bowline_registry::{Store, check_address, serve};
use clap::{Args, Subcommand};
use tokio::net::TcpListener;

use crate::cli::Context;
use crate::error::{Attempt, Failure, Outcome};
use crate::operation::Cancel;
use crate::operation::depot::{announce, directory};
use crate::record::make_private;

/// What to do with the embedded registry.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    #[command(subcommand)]
    verb: RegistryVerb,
}

/// The verbs of the embedded registry.
#[derive(Debug, Subcommand)]
pub enum RegistryVerb {
    /// Serve it until interrupted; docker, skopeo and buildah push, pull and list
    Serve {
        /// Where to listen
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5127")]
        listen: SocketAddr,
        /// Allow an address that other machines reach: there is no login, and no TLS
        #[arg(long)]
        public: bool,
    },
}

/// Serves the embedded registry.
///
/// # Errors
/// When the address is taken or not allowed, or the directory is in use.
pub async fn run(context: &Context, args: RegistryArgs) -> Outcome<()> {
    let RegistryVerb::Serve { listen, public } = args.verb;
    check_address(listen, public).map_err(|error| {
        Failure::invalid(format!("serving the registry on {listen}")).because(&error).hint(error.hint())
    })?;
    let path = directory();
    make_private(&path).attempt(|| format!("making {}", path.display()))?;
    let store = Store::open(&path).map_err(|error| {
        Failure::failed(format!("opening {}", path.display())).because(&error).hint(error.hint())
    })?;
    let listener = TcpListener::bind(listen).await.attempt(|| format!("listening on {listen}"))?;
    let address = listener.local_addr().attempt(|| format!("listening on {listen}"))?;
    announce(address.port())?;
    context.ui.say(format_args!("serving {} on http://{address}", path.display()));
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "address": address.to_string() }));
    }
    let cancel = Cancel::on_signals(&context.ui, "stopping");
    serve(listener, store, async move { cancel.asked().await })
        .await
        .attempt(|| "serving the registry".into())
}
