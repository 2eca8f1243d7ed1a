//! `bowline capacity --compare`: before and after a release.

use bowline_core::capacity::comparison::compare;
use bowline_core::capacity::profile::Profile;
use bowline_measurement::rollup::Step;

use super::host;
use crate::cli::Context;
use crate::error::{Failure, Outcome};
use crate::operation::capacity::measurement::{Asked, of_host, service_of};
use crate::operation::history::{self, Entry};
use crate::operation::target::Connected;
use crate::ui::capacity::show_comparison;

/// Shows the time of one release beside that of another.
///
/// # Errors
/// When either did not run on the target as far as is remembered there, or nothing was measured.
pub(super) async fn run(context: &Context, target: &Connected, before: &str, after: &str) -> Outcome<()> {
    let host = host(target)?;
    let history = history::observe(target).await?;
    let (first, second) = (window(&history, before)?, window(&history, after)?);
    let (first, second) = tokio::try_join!(of_host(host, first), of_host(host, second))?;
    let service = service_of(&host.project);
    let (first, second) = (Profile::new(&first.rows, &service), Profile::new(&second.rows, &service));
    let found = compare(&first, &second);
    for (samples, release) in [(found.samples.0, before), (found.samples.1, after)] {
        if samples == 0 {
            return Err(Failure::failed(format!("comparing {before} with {after}"))
                .since(format!("nothing was measured while {release} ran, as far as is remembered"))
                .hint("minutes are kept for a fortnight, from when the host is measured"));
        }
    }
    if context.ui.json {
        context.ui.data(&found);
        return Ok(());
    }
    context.ui.print(&format!("{}: {before}, then {after}\n", host.target));
    context.ui.print(&show_comparison(&found));
    Ok(())
}

/// The time in which a release ran for the last time.
fn window(history: &[Entry], named: &str) -> Outcome<Asked> {
    // Newest first: the entry before one in this order is what replaced it.
    let mut until = None;
    for entry in history {
        let Entry::Revision { release, at, .. } = entry else { continue };
        let named_so = |release: &String| {
            let version = release.strip_prefix('v').unwrap_or(release);
            release == named
                || version == named
                || version.split('-').next() == named.strip_prefix('v').or(Some(named))
        };
        if release.as_ref().is_some_and(named_so) {
            // The minute in which it came is of both.
            let since = at.as_millisecond().saturating_add(60_000);
            return Ok(Asked { since, until, step: Step::Minute });
        }
        until = Some(at.as_millisecond());
    }
    Err(Failure::invalid(format!("{named} did not run there, as far as is remembered"))
        .hint("`bowline history` shows what did; more is remembered with `keep` in [targets]"))
}
