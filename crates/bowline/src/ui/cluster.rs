//! A cluster's plan as people read it before they let it happen.

use bowline_core::kube::comparison::{Change, Loss, Shown};
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::Node;
use bowline_core::kube::planning::{Action, Assessment};
use bowline_core::plan::Step;

use super::printable;
use crate::operation::cluster::Proposal;

/// The plan in lines, in the order in which it is carried out: each object with what changes in it, and what it waits for.
pub fn render(proposal: &Proposal) -> String {
    let mut lines = Vec::new();
    let unproven = |id: &ObjectId| proposal.assessments.get(id) == Some(&Assessment::Unproven);
    for step in &proposal.plan.steps {
        if !step.action.writes() {
            if step.action.id().is_some_and(unproven) {
                lines.push(format!("  {}", describe(step)));
                lines.push("            it is as it should be, and was not yet seen to come up".into());
            }
            continue;
        }
        lines.push(format!("  {}", describe(step)));
        lines.extend(step.action.id().and_then(|id| filled(proposal, id)));
        lines.extend(detail(&step.action));
        if let Some(why) = step.action.id().and_then(|id| waits_for(proposal, id)) {
            lines.push(format!("            after {why}"));
        }
    }
    let unchanged = proposal.assessments.values().filter(|found| **found == Assessment::Unchanged).count();
    if unchanged > 0 {
        let objects = if unchanged == 1 { "object" } else { "objects" };
        lines.push(format!("  {:<9} {unchanged} {objects} as they are", "leave"));
    }
    lines.join("\n")
}

/// What Bowline itself fills a Secret with; never the values.
fn filled(proposal: &Proposal, id: &ObjectId) -> Option<String> {
    let goal = &proposal.goal;
    if let Some(login) = goal.logins.get(id) {
        return Some(format!("            the login {}, with which nodes pull", printable(login)));
    }
    let keys = goal.withheld.get(id)?.iter().filter_map(|pointer| pointer.strip_prefix("/data/"));
    let keys: Vec<String> = keys.map(|key| printable(&key.replace("~1", "/").replace("~0", "~"))).collect();
    Some(format!("            {} from the sources in bowline.toml", keys.join(", ")))
}

/// One step in a line.
pub fn describe(step: &Step<Action>) -> String {
    let verb = match &step.action {
        Action::Apply { assessment: Assessment::Create { .. }, .. } => "create",
        Action::Apply { assessment: Assessment::Change { changes, .. }, .. } if changes.is_empty() => {
            "take over"
        }
        Action::Apply { .. } => "change",
        Action::Replace { .. } => "renew",
        Action::Await { .. } => "await",
        Action::Gather => "gather",
        Action::Delete { .. } => "delete",
    };
    format!("{verb:<9} {}", printable(&step.subject))
}

fn detail(action: &Action) -> Vec<String> {
    let mut lines = Vec::new();
    match action {
        Action::Apply { assessment: Assessment::Change { changes, taken, yielded }, .. } => {
            lines.extend(changes.iter().map(|found| format!("            {}", change(found))));
            lines.extend(
                taken.iter().map(|found| format!("            takes {}", printable(&found.to_string()))),
            );
            lines.extend(
                yielded.iter().map(|found| format!("            leaves {}", printable(&found.to_string()))),
            );
        }
        Action::Apply { assessment: Assessment::Create { checked: false }, .. } => {
            lines.push(
                "            not checked by the server: its namespace or kind comes with this release".into(),
            );
        }
        Action::Replace { fields, loss, .. } => {
            if !fields.is_empty() {
                lines.push(format!("            cannot change in place: {}", printable(&fields.join(", "))));
            }
            lines.push(format!("            {}", cost(*loss)));
        }
        _ => {}
    }
    lines
}

/// One changed field in a line.
pub fn change(change: &Change) -> String {
    let show = |shown: &Shown| match shown {
        Shown::Absent => "nothing".to_owned(),
        Shown::Hidden => "(hidden)".to_owned(),
        Shown::Text(text) => printable(text),
    };
    format!("{}: {} -> {}", printable(&change.path), show(&change.before), show(&change.after))
}

fn cost(loss: Loss) -> &'static str {
    match loss {
        Loss::Nothing => "it is deleted and made anew; nothing is lost",
        Loss::Orphans => "it is deleted without its pods, which the new one takes over",
        Loss::Pods => "its pods stop, and new ones start",
        Loss::Address => "its address may change",
        Loss::Data => "what is stored in it may be lost",
    }
}

/// Why an object waits, where it waits for something that changes too.
fn waits_for(proposal: &Proposal, id: &ObjectId) -> Option<String> {
    let changes = |node: &Node| match node {
        Node::Object(id) => proposal.writes(id),
        Node::Barrier(_) => false,
    };
    let entry = proposal.ordering.entries().iter().find(|entry| entry.node == Node::Object(id.clone()))?;
    let told = entry.after.iter().filter(|edge| changes(&edge.to));
    let told: Vec<String> = told.map(|edge| printable(&format!("{}, {}", edge.to, edge.why))).collect();
    (!told.is_empty()).then(|| told.join("; "))
}
