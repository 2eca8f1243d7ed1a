//! `bowline schema`: the JSON schema of `bowline.toml`, for editors.

use crate::cli::Context;
use crate::config::schema::schema;
use crate::error::{Attempt, Outcome};

/// Prints the schema on stdout: on one line with `--json`.
///
/// # Errors
/// None in practice: the schema can always be written.
pub fn run(context: &Context) -> Outcome<()> {
    if context.ui.json {
        context.ui.data(&schema());
    } else {
        let text = serde_json::to_string_pretty(&schema()).attempt(|| "writing the schema".into())?;
        context.ui.print(&text);
    }
    Ok(())
}
