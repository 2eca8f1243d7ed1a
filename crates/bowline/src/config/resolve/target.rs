//! Targets: compose or Kubernetes, and the keys that belong to one of them only.

use std::collections::BTreeMap;
use std::ops::Range;

use super::part::Part;
use super::{Named, name, project_fault};
use crate::config::Secret;
use crate::config::document::{At, Document, OverrideTable, PullSecretSetting, TargetTable};
use crate::config::problem::{Problem, Purpose};
use crate::config::target::{
    ComposeTarget, Environment, KubernetesTarget, Override, Pace, PullSecret, SecretSource, Target,
};

pub(super) fn targets(part: &mut Part, document: &Document) -> BTreeMap<String, Target> {
    let mut targets = BTreeMap::new();
    for (key, table) in &document.targets {
        let purpose = Purpose::Target(key.value.clone());
        if let Some(target) = part.within(&purpose, |part| target(part, key, table)) {
            targets.insert(key.value.clone(), target);
        }
    }
    targets
}

fn target(part: &mut Part, key: &At<String>, table: &TargetTable) -> Option<Target> {
    // Where it is and what it is called is asked of today's configuration.
    let (host, directory, project) = part.within(&Purpose::Release, |part| {
        check_name(part, key);
        let host = part.host(table.host.as_ref());
        (host, directory(part, table.directory.as_ref()), project(part, table.project.as_ref()))
    });
    let services = overrides(part, table);
    let pace = pace(part, table);
    let machines = table.machines.as_ref().map(|at| at.value.clone());
    let cluster = table.kubernetes.as_ref().or(table.render.as_ref());
    let (secrets, pull_secret) = part.within(&Purpose::Release, |part| {
        foreign(part, table);
        (secrets(part, table), pull_secret(part, table.pull_secret.as_ref()))
    });
    match (&table.compose, cluster) {
        (Some(files), None) => Some(Target::Compose(ComposeTarget {
            name: key.value.clone(),
            files: part.paths(files, "a compose file"),
            env_files: table.env_file.as_ref().map(|at| at.value.list()).unwrap_or_default(),
            host,
            directory,
            project,
            profiles: table.profiles.iter().flatten().map(|at| at.value.clone()).collect(),
            machines: machines.clone(),
            pace,
            services,
        })),
        (None, Some(_)) => Some(Target::Kubernetes(KubernetesTarget {
            name: key.value.clone(),
            manifests: match &table.kubernetes {
                Some(manifests) => part.paths(manifests, "a file or directory with manifests"),
                None => Vec::new(),
            },
            render: table.render.as_ref().and_then(|at| part.command(at, false, false)),
            exclude: part.globs(table.exclude.as_ref()),
            context: table.context.as_ref().map(|at| at.value.clone()),
            host,
            namespace: namespace(part, table.namespace.as_ref()),
            pull_secret,
            secrets,
            machines: machines.clone(),
            pace,
            services,
        })),
        (Some(compose), Some(manifests)) => {
            let (first, second) = if compose.span.start < manifests.span.start {
                (compose, manifests)
            } else {
                (manifests, compose)
            };
            let message = format!("`{}` is a compose project or a cluster, not both", key.value);
            part.problems.push(
                Problem::new(&second.span, message, "make another target of this")
                    .related(&first.span, "it has this already"),
            );
            None
        }
        (None, None) => {
            let mistyped = format!("`targets.{}.", key.value);
            if !part.problems.iter().any(|problem| problem.message.starts_with(&mistyped)) {
                let message = format!("nothing says what runs on `{}`", key.value);
                part.refuse(
                    &key.span,
                    message,
                    "add `compose = \"compose.yaml\"` or `kubernetes = [\"k8s/\"]`",
                );
            }
            None
        }
    }
}

fn check_name(part: &mut Part, key: &At<String>) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.value.starts_with(|c: char| c.is_ascii_alphanumeric()) || !key.value.chars().all(legal) {
        let label = "letters, digits, `-` and `_` can be in it; it starts with a letter or a digit";
        part.refuse(&key.span, format!("`{}` cannot be a target's name", key.value), label);
    } else if key.value == "release" {
        part.refuse(&key.span, "no target is called `release`", "`bowline lock release` is a command");
    }
}

/// Keys that mean nothing for this kind of target.
fn foreign(part: &mut Part, table: &TargetTable) {
    let span = |at: &Option<At<String>>| at.as_ref().map(|at| at.span.clone());
    let first =
        |list: &Option<Vec<At<String>>>| list.as_ref().and_then(|list| Some(list.first()?.span.clone()));
    let of_compose: [(&str, Option<Range<usize>>); 4] = [
        ("env-file", table.env_file.as_ref().map(|at| at.span.clone())),
        ("directory", span(&table.directory)),
        ("project", span(&table.project)),
        ("profiles", first(&table.profiles)),
    ];
    let of_kubernetes: [(&str, Option<Range<usize>>); 5] = [
        ("pull-secret", table.pull_secret.as_ref().map(|at| at.span.clone())),
        ("secrets", table.secrets.keys().next().map(|at| at.span.clone())),
        ("exclude", first(&table.exclude)),
        ("context", span(&table.context)),
        ("namespace", span(&table.namespace)),
    ];
    let cluster = table.kubernetes.as_ref().or(table.render.as_ref());
    let (foreign, other) = match (&table.compose, cluster) {
        (Some(_), None) => (&of_kubernetes[..], "`kubernetes`"),
        (None, Some(_)) => (&of_compose[..], "`compose`"),
        _ => return,
    };
    for (key, span) in foreign {
        if let Some(span) = span {
            part.refuse(span, format!("`{key}` belongs to targets with {other}"), "leave this out");
        }
    }
    if let (Some(_), Some(context), Some(_)) = (cluster, &table.context, &table.host) {
        let message =
            "the cluster's API is reached by a kubeconfig's `context` or through a `host`, not by both";
        part.refuse(&context.span, message, "leave out one of them");
    }
}

fn directory(part: &mut Part, at: Option<&At<String>>) -> Option<String> {
    let at = at?;
    let strange = at.value.contains(|c: char| c.is_control()) || at.value.split('/').any(|name| name == "..");
    if !at.value.starts_with('/') || strange {
        part.refuse(
            &at.span,
            "`directory` is an absolute path on the host",
            "starts with `/` and has no `..`",
        );
        return None;
    }
    let trimmed = at.value.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/".into() } else { trimmed.into() })
}

/// A DNS label (RFC 1123): what namespaces are called.
fn namespace(part: &mut Part, at: Option<&At<String>>) -> Option<String> {
    let at = at?;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if at.value.is_empty()
        || at.value.len() > 63
        || !at.value.chars().all(legal)
        || at.value.starts_with('-')
        || at.value.ends_with('-')
    {
        part.refuse(
            &at.span,
            format!("`{}` cannot be a namespace's name", at.value),
            "at most 63 lower-case letters, digits and `-`",
        );
        return None;
    }
    Some(at.value.clone())
}

fn pull_secret(part: &mut Part, at: Option<&At<PullSecretSetting>>) -> PullSecret {
    let Some(at) = at else { return PullSecret::Automatic };
    match &at.value {
        PullSecretSetting::Wanted(true) => PullSecret::Automatic,
        PullSecretSetting::Wanted(false) => PullSecret::Never,
        PullSecretSetting::Name(name) => {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let fits = name.len() <= 253 && name.chars().all(legal);
            if !fits || !name.starts_with(ends) || !name.ends_with(ends) {
                let label = "lower-case letters, digits, `-` and `.`; or false for none";
                part.refuse(&at.span, format!("`{name}` cannot be a Secret's name"), label);
            }
            PullSecret::Named(name.clone())
        }
    }
}

fn secrets(part: &mut Part, table: &TargetTable) -> BTreeMap<String, SecretSource> {
    let mut secrets = BTreeMap::new();
    for (key, table) in &table.secrets {
        let mut data = BTreeMap::new();
        for (name, at) in &table.data {
            match Secret::parse(&at.value) {
                Some(secret) => {
                    data.insert(name.value.clone(), secret);
                }
                None => part.problems.push(
                    Problem::new(&at.span, "a secret stands in the configuration", "name where it is found instead")
                        .help("write \"env:NAME\", \"file:PATH\" or \"command:…\", and change the secret if it was ever committed"),
                ),
            }
        }
        if table.data.is_empty() {
            part.refuse(
                &key.span,
                format!("the secret `{}` has no keys", key.value),
                "add `data = { KEY = \"env:NAME\" }`",
            );
        }
        let kind = table.r#type.as_ref().map_or_else(|| "Opaque".to_owned(), |at| at.value.clone());
        let namespace = namespace(part, table.namespace.as_ref());
        secrets.insert(key.value.clone(), SecretSource { namespace, kind, data });
    }
    secrets
}

fn project(part: &mut Part, at: Option<&At<String>>) -> Option<String> {
    let at = at?;
    if let Some(fault) = project_fault(&at.value) {
        part.refuse(&at.span, format!("`{}` cannot be a compose project's name", at.value), fault);
        return None;
    }
    Some(at.value.clone())
}

fn pace(part: &mut Part, table: &TargetTable) -> Pace {
    let cluster = table.kubernetes.is_some() || table.render.is_some();
    let defaults = if cluster { Pace::of_cluster() } else { Pace::default() };
    Pace {
        start: part.duration(table.start.as_ref(), false).unwrap_or(defaults.start),
        settle: part.duration(table.settle.as_ref(), true).unwrap_or(defaults.settle),
        restarts: table.restarts.as_ref().map_or(defaults.restarts, |at| at.value),
        keep: part.positive(table.keep.as_ref(), "the number of releases kept").unwrap_or(defaults.keep),
    }
}

fn overrides(part: &mut Part, table: &TargetTable) -> Named<Override> {
    let mut services = Named::new();
    for (key, table) in &table.services {
        let Some(name) = name(part, key) else { continue };
        services.insert(name, one_override(part, table));
    }
    services
}

fn one_override(part: &mut Part, table: &OverrideTable) -> Override {
    let mut env = BTreeMap::new();
    for (variable, value) in &table.env {
        let name = &variable.value;
        if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
            part.refuse(
                &variable.span,
                "this cannot be the name of an environment variable",
                "no `=`, no blanks",
            );
        }
        env.insert(name.clone(), value.text());
    }
    let replicas = match &table.replicas {
        Some(at) if at.value == 0 => {
            part.refuse(
                &at.span,
                "a service runs in at least one container",
                "write `enabled = false` to switch it off",
            );
            None
        }
        at => at.as_ref().map(|at| at.value),
    };
    Override {
        env: Environment(env),
        memory: part.memory(table.memory.as_ref()),
        milli_cpus: part.cpus(table.cpus.as_ref()),
        replicas,
        enabled: table.enabled.unwrap_or(true),
    }
}
