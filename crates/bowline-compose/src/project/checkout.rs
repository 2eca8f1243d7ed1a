//! Compose's reading of the files of a checkout, on this machine: the CLI alone, without an engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{CONFIG_LIMIT, CONFIG_PATIENCE, ProjectError, Rendered, docker, failed, rendered, words};
use crate::connection::run_here;

/// A compose project as it lies in a checkout.
#[derive(Clone)]
pub struct Checkout {
    /// The project's directory, absolute.
    pub directory: PathBuf,
    /// The project's name.
    pub name: String,
    /// Its files, relative to the directory, in Compose's order.
    pub files: Vec<String>,
    /// The profiles that are asked for.
    pub profiles: Vec<String>,
    /// Variables for interpolation. They may be secret: they go by standard input only.
    pub env: BTreeMap<String, String>,
}

impl Checkout {
    /// What the CLI understands of the files, with another file laid over them where there is one.
    ///
    /// # Errors
    /// When there is no Compose v2 on this machine, or it refuses the files.
    pub async fn config(&self, overlay: Option<Vec<u8>>) -> Result<Rendered, ProjectError> {
        let directory = self.directory.to_string_lossy().into_owned();
        let mut files: Vec<String> = self.files.clone();
        if overlay.is_some() {
            // Compose reads it from standard input.
            files.push("-".into());
        }
        let verb = ["config", "--format", "json"];
        let mut command = docker().args(words(&self.name, &directory, &files, &self.profiles, &verb));
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        if let Some(overlay) = overlay {
            command = command.stdin(overlay);
        }
        let command = command.directory(directory.as_str()).timeout(CONFIG_PATIENCE).limit(CONFIG_LIMIT);
        let output = run_here(command).await?;
        if !output.is_success() {
            let no_compose = output.stderr.contains("is not a docker command")
                || output.stderr.contains("unknown flag: --ansi");
            if output.status == 127 || no_compose {
                return Err(ProjectError::Missing { host: "this machine".into() });
            }
            return Err(failed("config", &self.name, &output, &self.env));
        }
        rendered(&self.name, &output, &output.stdout, directory)
    }
}
