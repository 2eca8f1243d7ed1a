//! A plan as people read it before they let it happen.

use bowline_core::compose::desired::Desired;
use bowline_core::compose::planning::{Action, NamedImage};
use bowline_core::compose::preflight::{Finding, Findings};
use bowline_core::health::{Gate, Test};
use bowline_core::plan::{Plan, Precondition, Step};
use bowline_core::reference::Reference;

use super::printable;

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
    };
    format!("{proof}, within {} s and {} restarts", gate.start.as_secs(), gate.restarts)
}

/// Findings in lines, each with its remedy.
pub fn render_findings(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            format!(
                "{}: {} — {}",
                printable(&finding.subject),
                printable(&finding.text),
                printable(&finding.remedy)
            )
        })
        .collect()
}

/// Everything that would make the plan fail, as one failure; nothing where it may begin.
pub fn refuse(target: &str, findings: &Findings) -> Option<crate::error::Failure> {
    if findings.refusals.is_empty() {
        return None;
    }
    let failure = crate::error::Failure::invalid(format!("this release cannot be deployed to {target}"));
    Some(
        failure
            .detail(render_findings(&findings.refusals))
            .hint("nothing was touched; correct this and deploy again"),
    )
}
