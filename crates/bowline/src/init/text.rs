//! A proposal as a `bowline.toml` with comments.

use std::fmt::Write;

use toml::Value;

use super::proposal::{Health, Proposal, Service, Sure, Target};

/// The file, ready to be read by people and by Bowline. Pure.
pub fn render(proposal: &Proposal) -> String {
    let mut text = String::from(
        "# How Bowline builds this repository and where it runs. `bowline init` wrote it from what it found; lines with a\n\
         # question mark were guessed. All keys: `bowline schema`.\n",
    );
    section(&mut text, "[project]");
    line(&mut text, "name", &string(&proposal.project), &proposal.project_from);
    section(&mut text, "[version]");
    line(
        &mut text,
        "default-bump",
        &string("patch"),
        "merged changes without [major], [minor] or [patch] in the title: patch, none or error",
    );
    if let Some(command) = &proposal.command {
        section(&mut text, "[build]");
        comment(&mut text, "{version} is 5.0.2-b321acf, {tag} is v5.0.2-b321acf");
        line(&mut text, "command", &string(command), "");
    }
    section(&mut text, "[registry]");
    comment(&mut text, "one repository for all services; without it the registry that is built in is used");
    comment(&mut text, "repository = \"123456789012.dkr.ecr.eu-central-1.amazonaws.com/chat\"");
    line(
        &mut text,
        "tag",
        &string("{service}_{tag}"),
        "what other tools filled may need {service}_{version}",
    );
    for service in &proposal.services {
        render_service(&mut text, service);
    }
    for target in &proposal.targets {
        render_target(&mut text, target);
    }
    if !proposal.left_out.is_empty() {
        text.push_str("\n# Left out:\n");
        for left in &proposal.left_out {
            comment(&mut text, &format!("- {}: {}", left.what, left.why));
        }
    }
    text
}

fn render_service(text: &mut String, service: &Service) {
    section(text, &format!("[services.{}]", key(&service.name)));
    let mark = if service.sure == Sure::Guess { "? " } else { "" };
    match (&service.module, service.tool) {
        (Some(module), Some(tool)) => comment(text, &format!("{mark}{tool} in {module}")),
        _ => comment(text, &format!("{mark}not built here")),
    }
    for because in &service.because {
        comment(text, &format!("- {because}"));
    }
    for unsure in &service.unsure {
        comment(text, &format!("? {unsure}"));
    }
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            line(text, key, &value, "");
        }
    };
    put("inputs", (!service.inputs.is_empty()).then(|| list(&service.inputs)));
    put("build", service.build.as_deref().map(string));
    put("artifact", service.artifact.as_deref().map(string));
    put("context", service.context.as_deref().map(string));
    put("dockerfile", service.dockerfile.as_deref().map(string));
    put("images", (!service.images.is_empty()).then(|| list(&service.images)));
    put("port", service.port.map(|port| port.to_string()));
    put(
        "health",
        service.health.as_ref().map(|health| match health {
            Health::Http(path) => format!("{{ http = {} }}", string(path)),
            Health::Tcp => "{ tcp = true }".into(),
        }),
    );
}

fn render_target(text: &mut String, target: &Target) {
    match target {
        Target::Compose { name, files, project } => {
            section(text, &format!("[targets.{}]", key(name)));
            let files = match files.as_slice() {
                [only] => string(only),
                several => list(several),
            };
            line(text, "compose", &files, "");
            comment(text, "host = \"ssh://user@203.0.113.10\"   # without it: the engine of this machine");
            comment(
                text,
                "directory = \"/home/user/project\"   # where the compose project lies on the host",
            );
            match project {
                Some(project) => line(text, "project", &string(project), "the compose file's own name"),
                None => comment(
                    text,
                    "project = \"project\"                # its compose project name; `bowline adopt` finds both",
                ),
            }
        }
        Target::Kubernetes { name, manifests, namespace } => {
            section(text, &format!("[targets.{}]", key(name)));
            line(text, "kubernetes", &list(manifests), "");
            comment(
                text,
                "context = \"prod\"                    # without it: the current one of the kubeconfig",
            );
            if let Some(namespace) = namespace {
                line(text, "namespace", &string(namespace), "the one that the manifests name");
            }
        }
    }
}

fn section(text: &mut String, header: &str) {
    let _ = write!(text, "\n{header}\n");
}

/// One comment line, whatever the text holds: it comes from file names and other people's files.
fn comment(text: &mut String, what: &str) {
    let what: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(text, "# {what}");
}

fn line(text: &mut String, key: &str, value: &str, remark: &str) {
    let _ = write!(text, "{key} = {value}");
    if remark.is_empty() {
        text.push('\n');
    } else {
        text.push_str("   ");
        comment(text, remark);
    }
}

fn string(text: &str) -> String {
    Value::String(text.into()).to_string()
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| string(text)).collect::<Vec<_>>().join(", "))
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.into() } else { string(name) }
}
