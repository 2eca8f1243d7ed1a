//! A plan as people read it before they let it happen.

use bowline_core::compose::desired::Desired;
use bowline_core::compose::planning::{Action, NamedImage};
use bowline_core::finding::{Finding, Findings, group};
use bowline_core::health::{Gate, Test};
use bowline_core::plan::{Plan, Precondition, Step};
use bowline_core::reference::Reference;

use super::width::fold;
use super::{Ui, printable};

/// The plan in lines, in the order in which it is carried out.
pub fn render(plan: &Plan<Action>, desired: &Desired) -> String {
    let mut lines = Vec::new();
    for step in &plan.steps {
        lines.push(format!("  {}", describe(step)));
        if let Some(gate) = &step.gate {
            lines.push(format!("            until {}", condition(gate)));
        }
    }
    let changed = |name: &str| plan.steps.iter().any(|step| step.subject == name && touches(&step.action));
    let kept: Vec<String> =
        desired.services.keys().filter(|name| !changed(name)).map(|name| printable(name)).collect();
    if !kept.is_empty() {
        lines.push(format!("  {:<9} {}", "leave", kept.join(", ")));
    }
    lines.join("\n")
}

fn touches(action: &Action) -> bool {
    matches!(action, Action::Recreate { .. } | Action::Start { .. } | Action::Remove { .. })
}

/// One step in a line.
pub fn describe(step: &Step<Action>) -> String {
    let subject = printable(&step.subject);
    let (verb, rest) = match &step.action {
        Action::Pull { image } => ("pull", format!("{subject} {}", image.manifest.short())),
        Action::PullNamed { name } => ("pull", familiar(name)),
        Action::WriteFiles { files, stale, restored, .. } => {
            let removed = stale.iter().map(|path| format!("{} (removed)", printable(path)));
            let restored = restored.iter().map(|path| format!("{} (put back)", printable(path)));
            let written = files.keys().map(|path| printable(path));
            ("write", written.chain(removed).chain(restored).collect::<Vec<_>>().join(", "))
        }
        Action::Name { image, names } => {
            let id = match image {
                NamedImage::Released(id) => id.manifest.short(),
                NamedImage::Engine(id) => id.short(),
            };
            let names: Vec<String> = names.iter().map(|name| familiar(name)).collect();
            ("name", format!("{subject} {id} as {}", names.join(" and ")))
        }
        Action::Recreate { replicas } => {
            let first = matches!(&step.expect, Precondition::Containers(there) if there.is_empty());
            (if first { "start" } else { "replace" }, with_replicas(&subject, *replicas))
        }
        Action::Start { replicas } => ("start", with_replicas(&subject, *replicas)),
        Action::Remove { containers } => {
            let of = match &step.expect {
                Precondition::Containers(all) if all.len() > containers.len() => format!(" of {}", all.len()),
                _ => String::new(),
            };
            ("remove", format!("{subject} ({}{of} containers)", containers.len()))
        }
    };
    format!("{verb:<9} {rest}")
}

fn with_replicas(subject: &str, replicas: u32) -> String {
    if replicas == 1 { subject.to_owned() } else { format!("{subject} ×{replicas}") }
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| printable(name), |reference| reference.familiar())
}

fn condition(gate: &Gate) -> String {
    let proof = match &gate.test {
        Test::Healthcheck => "its health check passes".to_owned(),
        Test::Http { port, path } => format!("GET :{port}{} answers", printable(path)),
        Test::Tcp { port } => format!("port {port} accepts connections"),
        Test::Settle { time } => format!("it has stayed up for {} s", time.as_secs_f64()),
        Test::Completed => "it has ended with exit code 0".to_owned(),
        Test::Status => "its status says that it is ready".to_owned(),
    };
    format!("{proof}, within {} s and {} restarts", gate.start.as_secs(), gate.restarts)
}

/// More refusals than this that say the same are one line: fewer are corrected one by one, and each place is wanted.
const ALIKE: usize = 10;

/// Says what was found that stops nothing, in one line what is alike; lines of so many columns.
pub fn warn(ui: &Ui, warnings: &[Finding], columns: Option<usize>) {
    for group in group(warnings, 1) {
        let line = fold(&printable(&group.to_string()), columns, 9);
        if group.is_weak() { ui.weakness(line) } else { ui.warn(line) }
    }
}

/// Everything that would make the plan fail, as one failure; nothing where it may begin.
pub fn refuse(target: &str, findings: &Findings) -> Option<crate::error::Failure> {
    if findings.refusals.is_empty() {
        return None;
    }
    let failure = crate::error::Failure::invalid(format!("this release cannot be deployed to {target}"));
    let lines = group(&findings.refusals, ALIKE);
    Some(
        failure
            .detail(lines.iter().map(|group| printable(&group.to_string())))
            .hint("nothing was touched; correct this and deploy again"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_one_by_one_unless_there_are_many_alike() {
        let refusals = |count: usize| {
            let refusal =
                |number| Finding::new(format!("Deployment chat/{number}"), "no such image", "push it");
            let refusals = (0..count).map(refusal).collect();
            refuse("box", &Findings { refusals, warnings: Vec::new() })
        };
        assert!(refusals(0).is_none());
        assert_eq!(refusals(10).unwrap().detail.len(), 10);
        let many = refusals(250).unwrap().detail;
        assert_eq!(many.len(), 1);
        assert!(many[0].contains("Deployment chat/2 ... and 247 more: no such image — push it"), "{many:?}");
    }
}
