//! `bowline version`: which version comes next, and why.

use bowline_core::bump::DefaultBump;
use bowline_core::decision::{Decision, Verdict, decide};
use clap::Args;

use crate::cli::Context;
use crate::config::{Config, FILE};
use crate::error::Outcome;
use crate::operation::version::{Report, Request, observe};
use crate::ui::printable;

/// What the next version depends on.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// The title of the change that the commit brought (else it is read from GitHub or the commit messages)
    #[arg(long, value_name = "TITLE")]
    pub pr_title: Option<String>,
    /// When no title carries a token: patch, none or error (else as in bowline.toml, else patch)
    #[arg(long, value_name = "BUMP")]
    pub default_bump: Option<DefaultBump>,
    /// The remote whose tags count
    #[arg(long, value_name = "NAME", default_value = "origin")]
    pub remote: String,
    /// The commit that wants a version
    #[arg(long, value_name = "COMMIT", default_value = "HEAD")]
    pub commit: String,
}

impl VersionArgs {
    /// The request that these arguments make. The configuration is read where there is one, since versions can be
    /// asked for before anything is configured.
    ///
    /// # Errors
    /// When there is a configuration and it is wrong.
    pub fn request(self, context: &Context) -> Outcome<Request> {
        let default_bump = match self.default_bump {
            Some(default) => default,
            None if context.directory.join(FILE).exists() => Config::load(&context.directory)?.default_bump,
            None => DefaultBump::default(),
        };
        let request = Request::new(context.directory.clone(), default_bump);
        Ok(Request { remote: self.remote, commit: self.commit, title: self.pr_title, ..request })
    }
}

/// Explains the next version on stdout. Writes nothing anywhere.
///
/// # Errors
/// When it cannot be worked out.
pub async fn run(context: &Context, args: VersionArgs) -> Outcome<()> {
    let observation = observe(&args.request(context)?).await?;
    let decision = decide(&observation)?;
    let report = Report::new(&observation.head, &decision);
    if context.ui.json {
        context.ui.data(&report);
    } else {
        context.ui.print(&render(&report, &decision));
    }
    Ok(())
}

/// Every line that may hold a stranger's words begins with a dash: GitHub's runner takes lines that begin with `::`
/// for commands.
fn render(report: &Report, decision: &Decision) -> String {
    let mut text = format!("commit {}\n", report.commit);
    for reason in &decision.reasons {
        let line = match reason.strip_prefix("  ") {
            Some(item) => format!("    - {item}"),
            None => format!("- {reason}"),
        };
        text.push_str(&printable(&line));
        text.push('\n');
    }
    let end = match &decision.verdict {
        Verdict::New { tag, bump, .. } => format!("next version: {tag} ({bump})"),
        Verdict::Reused { tag, .. } => format!("version: {tag} (this commit has it already)"),
        Verdict::Superseded { by } => format!("no version: superseded by {}", by.tag),
        Verdict::Nothing { .. } => "no version: nothing to release".to_owned(),
    };
    text.push_str(&end);
    text
}
