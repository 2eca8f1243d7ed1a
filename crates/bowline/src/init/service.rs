//! One service: where its image comes from, what it is made from, its port and health.

use bowline_core::service::ServiceName;

use crate::config::{glob_fault, path_fault};

use super::deployed::Deployed;
use super::matching::Match;
use super::module::{Module, Tool};
use super::place::{join, lies_in, literal, parent, within};
use super::proposal::{Health, Service, Sure};

/// A service made from a module, under the name and image that it is deployed with.
pub(super) fn service(module: &Module, modules: &[Module], uses: &[(&Match, &Deployed)]) -> Service {
    let name = uses.first().map_or(module.name.as_str(), |(_, one)| one.name.as_str());
    let mut service = Service {
        name: legal(name),
        module: Some(module.place().to_owned()),
        tool: Some(module.tool.name()),
        sure: uses.iter().map(|(found, _)| found.sure).max().unwrap_or(Sure::Guess),
        because: module.runs.iter().cloned().collect(),
        unsure: module.unsure.clone(),
        inputs: sources(module, modules, uses),
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
    sound(&mut service);
    if service.inputs.is_empty() {
        service.unsure.push(
            "which files it is made from is not known, so that it is built every time: `inputs` says".into(),
        );
    }
    service
}

/// Adds the name by which what is deployed calls the image.
pub(super) fn add_image(service: &mut Service, one: &Deployed) {
    let image =
        one.reference().filter(|reference| reference.digest.is_none()).map(|reference| reference.familiar());
    if let Some(image) = image
        && !service.images.contains(&image)
    {
        service.images.push(image);
    }
}

/// What could not be written into the configuration is left out of it, and told.
fn sound(service: &mut Service) {
    // Without one of them a change could go unseen: it is all or nothing.
    if service.inputs.iter().any(|glob| glob_fault(glob).is_some()) {
        service.inputs.clear();
    }
    let mut refuse = |value: &mut Option<String>, fault: fn(&str) -> Option<String>| {
        if let Some(reason) = value.as_deref().and_then(fault) {
            let text = value.take().unwrap_or_default();
            service.unsure.push(format!("`{text}` was left out: {reason}"));
        }
    };
    refuse(&mut service.artifact, glob_fault);
    refuse(&mut service.context, path_fault);
    refuse(&mut service.dockerfile, path_fault);
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

/// The files that a service is made from: its module's, or, for a Dockerfile whose context lies elsewhere, those that
/// it copies. Nothing when it copies everything.
fn sources(module: &Module, modules: &[Module], uses: &[(&Match, &Deployed)]) -> Vec<String> {
    let context = uses.iter().find_map(|(_, one)| one.build.as_ref()).map(|(context, _)| context);
    let elsewhere = context.filter(|context| module.tool == Tool::Docker && **context != module.directory);
    let Some(context) = elsewhere else { return inputs(module, modules) };
    let whole = |copy: &String| {
        matches!(copy.trim_end_matches('/'), "" | ".") || copy.starts_with('*') || copy.contains('$')
    };
    if module.copies.iter().any(whole) {
        return Vec::new();
    }
    let copied =
        module.copies.iter().filter(|copy| !copy.contains("://")).filter_map(|copy| join(context, copy));
    // Whether it is a file or a directory is not known here: both are meant.
    let mut inputs: Vec<String> = copied.flat_map(|path| [path.clone(), format!("{path}/**")]).collect();
    inputs.extend(module.dockerfile.iter().map(|(path, _)| literal(path)));
    inputs
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
            inputs.push(format!("{}/**", literal(&directory)));
        }
    }
    inputs.extend(module.shared.iter().cloned());
    inputs.extend(module.dockerfile.iter().map(|(path, _)| literal(path)));
    let covered = |path: &String| {
        let holders =
            inputs.iter().filter(|other| *other != path).filter_map(|other| other.strip_suffix("/**"));
        holders.into_iter().any(|directory| lies_in(path.trim_end_matches("/**"), directory))
    };
    let mut kept: Vec<String> = inputs.iter().filter(|path| !covered(path)).cloned().collect();
    kept.dedup();
    kept
}

/// A service that is deployed and that nothing here builds.
pub(super) fn unbuilt(one: &Deployed) -> Service {
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
        unsure: one
            .unsure
            .iter()
            .cloned()
            .chain([
                "nothing here builds it: add `context`, `dockerfile` or `artifact`, or take it out".into()
            ])
            .collect(),
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
pub(super) fn legal(name: &str) -> String {
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
