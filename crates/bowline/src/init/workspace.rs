//! From what was found to what is proposed.

use std::collections::BTreeMap;

use super::compose::File;
use super::deployed::Deployed;
use super::dockerfile::Dockerfile;
use super::manifest::Folder;
use super::matching::{Match, matches};
use super::module::{Module, Tool};
use super::place::{last, parent};
use super::proposal::{LeftOut, Proposal, Service, Target};
use super::service::{add_image, legal, service, unbuilt};
use super::tree::Tree;

/// What the readers of the parts found.
pub(super) struct Found {
    pub(super) modules: Vec<Module>,
    pub(super) dockerfiles: Vec<Dockerfile>,
    pub(super) composes: Vec<File>,
    pub(super) manifests: Option<Folder>,
    /// What could not be read, and other things to say.
    pub(super) notes: Vec<String>,
}

/// The proposal; `None` when there is nothing to build and nothing to deploy.
pub(super) fn propose(tree: &Tree, found: Found) -> Option<Proposal> {
    let Found { modules, dockerfiles, composes, manifests, notes } = found;
    let (compose, merged) = chosen(&composes);
    let mut deployed: Vec<Deployed> = merged.clone();
    deployed.extend(manifests.iter().flat_map(|folder| folder.workloads.clone()));
    if deployed.is_empty() && !modules.iter().any(|module| module.runs.is_some()) {
        return None;
    }
    let matches = matches(&deployed, &modules);
    let mut unsure = notes;
    let mut services = from_matches(&matches, &deployed, &modules);
    if matches.is_empty() {
        services = alone(&deployed, &modules, &mut unsure);
    }
    services.sort_by(|one, other| one.name.cmp(&other.name));
    unique(&mut services, &mut unsure);
    let command = commands(&mut services, &modules);
    let (project, project_from) = project(tree, compose.first().copied(), &modules);
    let left_out = left_out(&services, &deployed, &modules, &dockerfiles, &composes, &compose);
    let targets = targets(&compose, manifests.as_ref());
    if targets.is_empty() {
        unsure.push("there is no compose file and no manifest: add a [targets.NAME] with one".into());
    }
    if compose.first().is_some_and(|file| file.swarm) {
        unsure.push("the compose file is one for Docker Swarm: replicas that publish one port do not start in Compose".into());
    }
    Some(Proposal { project, project_from, command, services, targets, left_out, unsure })
}

/// The compose files to deploy, and their services merged: the best one, and what it adds to.
fn chosen(composes: &[File]) -> (Vec<&File>, Vec<Deployed>) {
    let Some(best) = composes.first() else { return (Vec::new(), Vec::new()) };
    let base = composes.iter().skip(1).find(|other| {
        best.adds
            && !other.adds
            && parent(&other.path) == parent(&best.path)
            && matches!(
                last(&other.path),
                "compose.yaml" | "compose.yml" | "docker-compose.yml" | "docker-compose.yaml"
            )
    });
    let Some(base) = base else { return (vec![best], best.services.clone()) };
    let mut merged = base.services.clone();
    for service in &best.services {
        match merged.iter_mut().find(|known| known.name == service.name) {
            Some(known) => {
                known.image = service.image.clone().or(known.image.take());
                known.build = service.build.clone().or(known.build.take());
                known.port = service.port.or(known.port);
                known.checked |= service.checked;
            }
            None => merged.push(service.clone()),
        }
    }
    (vec![base, best], merged)
}

/// One service per module that something deploys; the first name is the compose file's.
fn from_matches(matches: &[Match], deployed: &[Deployed], modules: &[Module]) -> Vec<Service> {
    let mut by_module: BTreeMap<usize, Vec<(&Match, &Deployed)>> = BTreeMap::new();
    for found in matches {
        if let Some(one) = deployed.get(found.deployed) {
            by_module.entry(found.module).or_default().push((found, one));
        }
    }
    for uses in by_module.values_mut() {
        uses.sort_by_key(|(found, _)| found.deployed);
    }
    by_module.into_iter().filter_map(|(at, uses)| Some(service(modules.get(at)?, modules, &uses))).collect()
}

/// Nothing that is deployed could be matched: all that runs, or, without any, all that is deployed and not taken.
fn alone(deployed: &[Deployed], modules: &[Module], unsure: &mut Vec<String>) -> Vec<Service> {
    let running: Vec<&Module> = modules.iter().filter(|module| module.runs.is_some()).collect();
    if !running.is_empty() {
        if !deployed.is_empty() {
            unsure.push("no service of the compose file or manifests could be matched to what is built here: the names are the modules'".into());
        }
        return running.into_iter().map(|module| service(module, modules, &[])).collect();
    }
    let mut services: Vec<Service> = Vec::new();
    for one in deployed.iter().filter(|one| !one.is_stack()) {
        let image = one.reference().map(|reference| reference.familiar());
        let known = services.iter_mut().find(|service| {
            service.name == legal(&one.name)
                || image.as_ref().is_some_and(|image| service.images.contains(image))
        });
        if let Some(known) = known {
            add_image(known, one);
            known.port = known.port.or(one.port);
            continue;
        }
        let mut service = unbuilt(one);
        add_image(&mut service, one);
        services.push(service);
    }
    services
}

/// No two services of one name, no image twice.
fn unique(services: &mut Vec<Service>, unsure: &mut Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut images: Vec<String> = Vec::new();
    for service in services {
        if names.contains(&service.name) {
            let place = service.module.as_deref().unwrap_or_default().replace('/', "-");
            let number = names.len() + 1;
            service.name = if place.is_empty() || names.contains(&place) {
                format!("{}-{number}", service.name)
            } else {
                legal(&place)
            };
        }
        names.push(service.name.clone());
        let taken: Vec<String> =
            service.images.iter().filter(|image| images.contains(image)).cloned().collect();
        for image in taken {
            unsure.push(format!("{image} seems to be the image of two services; it was left with the first"));
            service.images.retain(|own| *own != image);
        }
        images.extend(service.images.iter().cloned());
    }
}

/// The build command of the most services is the project's; the others get their own.
fn commands(services: &mut [Service], modules: &[Module]) -> Option<String> {
    let module_of = |service: &Service| {
        modules.iter().find(|module| {
            service.module.as_deref() == Some(module.place()) && service.tool == Some(module.tool.name())
        })
    };
    // A Dockerfile that builds the artifact itself needs no command.
    let needed = |module: &&Module| !module.dockerfile.as_ref().is_some_and(|(_, builds)| *builds);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for command in
        services.iter().filter_map(module_of).filter(needed).filter_map(|module| module.command.clone())
    {
        *counts.entry(command).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(command, _)| command.clone())?;
    for service in services {
        let Some(module) = module_of(service).filter(needed) else { continue };
        if module.command.as_ref() != Some(&most) {
            service.build.clone_from(&module.own_command);
        }
    }
    Some(most)
}

fn project(tree: &Tree, compose: Option<&File>, modules: &[Module]) -> (String, String) {
    let named = compose.and_then(|file| Some((file.project.clone()?, format!("the name in {}", file.path))));
    let root = modules.iter().find(|module| module.directory.is_empty() && module.tool != Tool::Docker);
    let (name, from) = named
        .or_else(|| {
            root.map(|module| (module.name.clone(), format!("the {} build's name", module.tool.name())))
        })
        .unwrap_or_else(|| (tree.name.clone(), "the directory's name".into()));
    let kept: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' })
        .take(63)
        .collect();
    let kept = kept.trim_matches(['-', '_']);
    (if kept.is_empty() { "project".into() } else { kept.into() }, from)
}

fn targets(compose: &[&File], manifests: Option<&Folder>) -> Vec<Target> {
    let mut targets = Vec::new();
    if let Some(first) = compose.first() {
        targets.push(Target::Compose {
            name: "box".into(),
            files: compose.iter().map(|file| file.path.clone()).collect(),
            project: first.project.clone(),
        });
    }
    if let Some(folder) = manifests {
        let directory =
            if folder.directory.is_empty() { "./".into() } else { format!("{}/", folder.directory) };
        targets.push(Target::Kubernetes {
            name: "cluster".into(),
            manifests: vec![directory],
            namespace: folder.namespace.clone(),
        });
    }
    targets
}

fn left_out(
    services: &[Service],
    deployed: &[Deployed],
    modules: &[Module],
    dockerfiles: &[Dockerfile],
    composes: &[File],
    chosen: &[&File],
) -> Vec<LeftOut> {
    let mut left: Vec<LeftOut> = Vec::new();
    let mut leave = |what: String, why: &str| {
        if !left.iter().any(|known| known.what == what) {
            left.push(LeftOut { what, why: why.into() });
        }
    };
    let used = |module: &Module| {
        services.iter().any(|service| {
            service.module.as_deref() == Some(module.place()) && service.tool == Some(module.tool.name())
        })
    };
    for module in modules.iter().filter(|module| !used(module)) {
        let what = format!("{} ({})", module.place(), module.tool.name());
        let needed = modules.iter().any(|other| other.depends.contains(&module.directory));
        match (&module.runs, needed) {
            (None, true) => leave(what, "a library: it is part of what depends on it"),
            (None, false) if module.directory.is_empty() => {}
            (None, false) => leave(what, "nothing shows that it runs"),
            (Some(_), _) => leave(what, "it could run, but nothing deploys it"),
        }
    }
    let ours = |one: &Deployed| {
        services.iter().any(|service| {
            service.name == legal(&one.name)
                || service
                    .because
                    .iter()
                    .any(|why| why.starts_with(&format!("{} of {}:", one.name, one.file)))
        })
    };
    for one in deployed.iter().filter(|one| !ours(one)) {
        let image = one.image.as_deref().unwrap_or("no image");
        let why = if one.is_stack() { "a stack that others make" } else { "nothing here builds it" };
        leave(format!("{} ({image})", one.name), why);
    }
    for file in dockerfiles {
        let known = modules
            .iter()
            .any(|module| module.dockerfile.as_ref().is_some_and(|(path, _)| *path == file.path));
        let named = services.iter().any(|service| service.dockerfile.as_deref() == Some(&file.path));
        if !known && !named {
            leave(file.path.clone(), "it is not clear which service it is for");
        }
    }
    for file in composes.iter().filter(|file| !chosen.iter().any(|one| one.path == file.path)) {
        let instead = chosen.first().map_or("", |file| last(&file.path));
        leave(file.path.clone(), &format!("the target uses {instead}"));
    }
    left
}
