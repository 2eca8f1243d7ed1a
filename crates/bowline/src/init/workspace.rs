//! From what was found to what is proposed.

use std::collections::BTreeMap;

use bowline_core::service::ServiceName;

use super::compose::File;
use super::deployed::Deployed;
use super::dockerfile::Dockerfile;
use super::manifest::Folder;
use super::matching::{Match, matches};
use super::module::{Module, Tool};
use super::place::{last, parent, within};
use super::proposal::{Health, LeftOut, Proposal, Service, Sure, Target};
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

fn service(module: &Module, modules: &[Module], uses: &[(&Match, &Deployed)]) -> Service {
    let name = uses.first().map_or(module.name.as_str(), |(_, one)| one.name.as_str());
    let mut service = Service {
        name: legal(name),
        module: Some(module.place().to_owned()),
        tool: Some(module.tool.name()),
        sure: uses.iter().map(|(found, _)| found.sure).max().unwrap_or(Sure::Guess),
        because: module.runs.iter().cloned().collect(),
        unsure: module.unsure.clone(),
        inputs: inputs(module, modules),
        build: None,
        artifact: if module.dockerfile.is_none() { module.artifact.clone() } else { None },
        context: None,
        dockerfile: None,
        images: Vec::new(),
        port: None,
        health: None,
    };
    for (found, one) in uses {
        service.because.push(format!("{} of {}: {}", one.name, one.file, found.why));
        if !found.rivals.is_empty() {
            service.unsure.push(format!("`{}` could also be {}", one.name, found.rivals.join(" or ")));
        }
        service.unsure.extend(one.unsure.clone());
        add_image(&mut service, one);
    }
    if uses.iter().any(|(found, _)| found.sure == Sure::Guess) {
        service.unsure.push(format!("that {} is this service is a guess", module.place()));
    }
    docker(&mut service, module, uses);
    network(&mut service, module, uses);
    if service.inputs.is_empty() {
        service.unsure.push(
            "which files it is made from is not known, so that it is built every time: `inputs` says".into(),
        );
    }
    service
}

fn add_image(service: &mut Service, one: &Deployed) {
    let image =
        one.reference().filter(|reference| reference.digest.is_none()).map(|reference| reference.familiar());
    if let Some(image) = image
        && !service.images.contains(&image)
    {
        service.images.push(image);
    }
}

/// Where its Dockerfile is, as far as `<context>/Dockerfile` does not say it.
fn docker(service: &mut Service, module: &Module, uses: &[(&Match, &Deployed)]) {
    let build = uses.iter().find_map(|(_, one)| one.build.clone());
    let own = module.dockerfile.as_ref().map(|(path, _)| path.clone());
    let (context, dockerfile) = match (build, own) {
        (Some((context, dockerfile)), _) => (context, dockerfile),
        (None, Some(dockerfile)) => (parent(&dockerfile).to_owned(), dockerfile),
        (None, None) => return,
    };
    if module.dockerfile.is_none() && module.tool != Tool::Docker {
        service.unsure.push(format!(
            "{dockerfile} is not there: if the build does not write it, one is made from the artifact"
        ));
    }
    let default = within(&context, "Dockerfile");
    service.context = Some(if context.is_empty() { ".".into() } else { context });
    if dockerfile != default {
        service.dockerfile = Some(dockerfile);
    }
}

/// Port and health.
fn network(service: &mut Service, module: &Module, uses: &[(&Match, &Deployed)]) {
    let published = uses.iter().find_map(|(_, one)| Some((one.port?, format!("{} publishes it", one.file))));
    if let (Some((outside, _)), Some((inside, why))) = (&published, &module.port)
        && outside != inside
        && !why.contains("default")
    {
        service
            .unsure
            .push(format!("port {outside} of the compose file or manifest is not {inside} ({why})"));
    }
    if let Some((port, why)) = published.or_else(|| module.port.clone()) {
        service.port = Some(port);
        service.because.push(format!("port {port}: {why}"));
        if why.contains("default") {
            service.unsure.push(format!("port {port} is {why}"));
        }
    }
    if uses.iter().any(|(_, one)| one.checked) {
        service.because.push("health: the deployed file says how it is seen".into());
        return;
    }
    match (&module.health, service.port) {
        (Some((path, why)), Some(_)) => {
            service.health = Some(Health::Http(path.clone()));
            service.because.push(format!("health at {path}: {why}"));
        }
        (_, Some(_)) => {
            service.health = Some(Health::Tcp);
            service.unsure.push(
                "that its port accepts connections is a weak sign of health: a path to ask would be better"
                    .into(),
            );
        }
        (_, None) => service
            .unsure
            .push("nothing says how to see that it is healthy: it only has to stay up for a while".into()),
    }
}

/// The files that a module is made from: its own, those of what it depends on, and those of the whole build.
fn inputs(module: &Module, modules: &[Module]) -> Vec<String> {
    let mut directories = vec![module.directory.clone()];
    let mut at = 0;
    while let Some(directory) = directories.get(at).cloned() {
        let depends = modules
            .iter()
            .filter(|other| other.directory == directory)
            .flat_map(|other| other.depends.clone());
        for next in depends.collect::<Vec<_>>() {
            if !directories.contains(&next) {
                directories.push(next);
            }
        }
        at += 1;
    }
    // A Dockerfile at the root can be made from anything.
    if module.tool == Tool::Docker && module.directory.is_empty() {
        return Vec::new();
    }
    let mut inputs: Vec<String> = Vec::new();
    for directory in directories {
        if directory.is_empty() {
            let own = if module.tool == Tool::Node { "**" } else { "src/**" };
            inputs.push(own.into());
        } else {
            inputs.push(format!("{directory}/**"));
        }
    }
    inputs.extend(module.shared.iter().cloned());
    inputs.extend(module.dockerfile.iter().map(|(path, _)| path.clone()));
    let covered = |path: &String| {
        let holders =
            inputs.iter().filter(|other| *other != path).filter_map(|other| other.strip_suffix("/**"));
        holders.into_iter().any(|directory| super::place::lies_in(path.trim_end_matches("/**"), directory))
    };
    let mut kept: Vec<String> = inputs.iter().filter(|path| !covered(path)).cloned().collect();
    kept.dedup();
    kept
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

/// A service that is deployed and that nothing here builds.
fn unbuilt(one: &Deployed) -> Service {
    let health = match one.port {
        Some(_) if !one.checked => Some(Health::Tcp),
        _ => None,
    };
    Service {
        name: legal(&one.name),
        module: None,
        tool: None,
        sure: Sure::Guess,
        because: vec![format!("{} runs it, and its image is not one of a well-known stack", one.file)],
        unsure: vec![
            "nothing here builds it: add `context`, `dockerfile` or `artifact`, or take it out".into(),
        ],
        inputs: Vec::new(),
        build: None,
        artifact: None,
        context: None,
        dockerfile: None,
        images: Vec::new(),
        port: one.port,
        health,
    }
}

/// A name that a service can have.
fn legal(name: &str) -> String {
    if name.parse::<ServiceName>().is_ok() {
        return name.into();
    }
    let kept: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    let kept = kept.trim_matches(['.', '-']);
    if kept.is_empty() { "service".into() } else { kept.chars().take(60).collect() }
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
