//! Which module is which service: by what builds it, by its image, by its name.

use std::collections::BTreeSet;

use super::deployed::Deployed;
use super::module::Module;
use super::proposal::Sure;

/// That a deployed service is a module.
#[derive(Debug, Clone)]
pub(super) struct Match {
    /// The index of the deployed service.
    pub(super) deployed: usize,
    /// The index of the module.
    pub(super) module: usize,
    pub(super) sure: Sure,
    pub(super) why: String,
    /// Other modules that fit as well.
    pub(super) rivals: Vec<String>,
}

/// A fit that leaves no doubt: built from it, or the same name. One module can then be several services.
const CERTAIN: u32 = 80;

/// Words that say what something is, not which one.
const NOISE: [&str; 15] = [
    "api",
    "app",
    "application",
    "backend",
    "container",
    "docker",
    "image",
    "java",
    "microservice",
    "module",
    "ms",
    "server",
    "service",
    "srv",
    "svc",
];

/// The best assignment of modules to deployed services, each service once.
pub(super) fn matches(deployed: &[Deployed], modules: &[Module]) -> Vec<Match> {
    let common_names = common(deployed.iter().map(|one| words(&one.name)));
    let common_images = common(
        deployed.iter().filter(|one| !one.is_stack()).filter_map(|one| Some(words(&one.image_name()?))),
    );
    let common_modules =
        common(modules.iter().filter(|module| module.runs.is_some()).map(|module| words(&module.name)));
    let noise = |shared: &BTreeSet<String>| -> BTreeSet<String> {
        shared.iter().cloned().chain(NOISE.iter().map(|word| (*word).to_owned())).collect()
    };
    let (name_noise, image_noise, module_noise) =
        (noise(&common_names), noise(&common_images), noise(&common_modules));
    let mut fits: Vec<(u32, usize, usize, String)> = Vec::new();
    for (d, one) in deployed.iter().enumerate() {
        let mut names = vec![(one.name.clone(), core(&one.name, &name_noise))];
        names.extend(one.alias.iter().map(|alias| (alias.clone(), core(alias, &name_noise))));
        let image = one.image_name().filter(|_| !one.is_stack());
        names.extend(image.map(|image| {
            let core = core(&image, &image_noise);
            (format!("{image} (its image)"), core)
        }));
        for (m, module) in modules.iter().enumerate().filter(|(_, module)| module.runs.is_some()) {
            if let Some((score, why)) = fit(one, module, &names, &module_noise) {
                fits.push((score, d, m, why));
            }
        }
    }
    fits.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2)));
    assign(&fits, deployed, modules)
}

fn assign(fits: &[(u32, usize, usize, String)], deployed: &[Deployed], modules: &[Module]) -> Vec<Match> {
    let mut matches: Vec<Match> = Vec::new();
    for (score, d, m, why) in fits {
        let served = matches.iter().any(|other| other.deployed == *d);
        let taken = matches.iter().any(|other| other.module == *m && same_file(other.deployed, *d, deployed));
        if served || (taken && *score < CERTAIN) {
            continue;
        }
        let rivals = fits
            .iter()
            .filter(|(other, od, om, _)| od == d && om != m && *other == *score)
            .filter_map(|(_, _, om, _)| Some(modules.get(*om)?.place().to_owned()))
            .collect::<Vec<_>>();
        let sure = match score {
            _ if !rivals.is_empty() => Sure::Guess,
            CERTAIN.. => Sure::Certain,
            60.. => Sure::Likely,
            _ => Sure::Guess,
        };
        matches.push(Match { deployed: *d, module: *m, sure, why: why.clone(), rivals });
    }
    matches
}

fn same_file(one: usize, other: usize, deployed: &[Deployed]) -> bool {
    deployed.get(one).map(|one| &one.file) == deployed.get(other).map(|other| &other.file)
}

/// How well a module fits, and why. Nothing below 40 is worth a guess.
fn fit(
    one: &Deployed,
    module: &Module,
    names: &[(String, BTreeSet<String>)],
    noise: &BTreeSet<String>,
) -> Option<(u32, String)> {
    if let Some((context, dockerfile)) = &one.build {
        let its = module.dockerfile.as_ref().is_some_and(|(path, _)| path == dockerfile);
        if its {
            return Some((100, format!("it is built from {dockerfile}")));
        }
        if *context == module.directory && !context.is_empty() {
            return Some((98, format!("it is built in {context}")));
        }
    }
    let stack = one.is_stack();
    if one.name == module.name && !stack {
        return Some((90, "it has the same name".into()));
    }
    let image = one.image_name();
    if image.as_ref().is_some_and(|image| *image == module.name || module.alias.as_ref() == Some(image)) {
        return Some((85, "its image has the module's name".into()));
    }
    if stack {
        return None;
    }
    let own = core(&module.name, noise);
    let port = match (one.port, &module.port) {
        (Some(one), Some((other, _))) if one == *other => 10,
        _ => 0,
    };
    let whole = names.iter().find(|(_, words)| *words == own);
    let plain: BTreeSet<String> = NOISE.iter().map(|word| (*word).to_owned()).collect();
    // What all modules have in common tells them apart from nothing, but it may be all that a service is called.
    let full = core(&module.name, &plain);
    let part = names.iter().find(|(name, words)| {
        let name = core(name.trim_end_matches(" (its image)"), &plain);
        words.is_subset(&own) || own.is_subset(words) || name.is_subset(&full)
    });
    match (whole, part) {
        (Some((name, _)), _) => Some((65 + port, format!("the names are alike: {name} and {}", module.name))),
        (None, Some((name, _))) => {
            Some((40 + port, format!("parts of the names are alike: {name} and {}", module.name)))
        }
        (None, None) => None,
    }
}

fn words(name: &str) -> BTreeSet<String> {
    name.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The words that all names share, where there are several names.
fn common(names: impl Iterator<Item = BTreeSet<String>>) -> BTreeSet<String> {
    let names: Vec<BTreeSet<String>> = names.collect();
    match names.split_first() {
        Some((first, rest)) if !rest.is_empty() => {
            first.iter().filter(|word| rest.iter().all(|name| name.contains(*word))).cloned().collect()
        }
        _ => BTreeSet::new(),
    }
}

/// What is left of a name without the words that say little; all of it when nothing would be left.
fn core(name: &str, noise: &BTreeSet<String>) -> BTreeSet<String> {
    let all = words(name);
    let left: BTreeSet<String> = all.difference(noise).cloned().collect();
    if left.is_empty() { all } else { left }
}

#[cfg(test)]
mod tests {
    use super::super::module::Tool;
    use super::*;

    fn module(name: &str, port: Option<u16>) -> Module {
        let mut module = Module::new(Tool::Gradle, name, name);
        module.runs = Some("a test says so".into());
        module.port = port.map(|port| (port, "a test".into()));
        module
    }

    fn service(name: &str, image: &str, port: Option<u16>) -> Deployed {
        Deployed {
            name: name.into(),
            image: Some(image.into()),
            port,
            file: "c.yaml".into(),
            ..Deployed::default()
        }
    }

    #[test]
    fn services_are_recognised_under_other_names() {
        let modules = [
            module("shop-user-service", None),
            module("shop-chat-service", None),
            module("shop-gateway", None),
        ];
        let deployed = [
            service("user-server", "main-service_user-server", None),
            service("chatting", "main-service_chat-server", None),
            service("gateway-server", "main-service_gateway", None),
            service("redis", "redis:7", None),
        ];
        let found: Vec<(usize, usize, Sure)> = matches(&deployed, &modules)
            .into_iter()
            .map(|found| (found.deployed, found.module, found.sure))
            .collect();
        assert_eq!(found, [(0, 0, Sure::Likely), (1, 1, Sure::Likely), (2, 2, Sure::Likely)]);
    }

    #[test]
    fn ports_decide_between_likes_and_ties_are_told() {
        let modules = [module("user-read", Some(1)), module("user-write", Some(2))];
        let found = matches(&[service("user", "x/user", Some(2))], &modules);
        assert_eq!(found.first().map(|found| (found.module, found.rivals.len())), Some((1, 0)));
        let found = matches(&[service("user", "x/user", None)], &modules);
        assert_eq!(found.first().map(|found| (found.sure, found.rivals.len())), Some((Sure::Guess, 1)));
    }

    #[test]
    fn third_party_images_are_nobodys_module() {
        assert!(matches(&[service("cache", "redis:7", None)], &[module("cache-redis", None)]).is_empty());
    }
}
