//! Gradle builds: `settings.gradle[.kts]` and the `build.gradle[.kts]` of their modules.

use std::collections::BTreeMap;

use super::module::{Module, Tool};
use super::place::{join, last, lies_in, literal, outermost, within, word};
use super::script::{after, assigned, block, blocks, list, quoted, uncommented};
use super::spring;
use super::tree::Tree;

/// One module's part of the build: its Gradle path, its directory, and all script that applies to it.
struct Part {
    path: String,
    directory: String,
    /// Its own script.
    own: String,
    /// Its own script and what the root's says about it.
    script: String,
}

/// All modules of all Gradle builds.
pub(super) fn modules(tree: &Tree) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let named = |stem: &str| {
        let names = [format!("{stem}.gradle"), format!("{stem}.gradle.kts")];
        outermost(tree.paths().filter(move |path| names.iter().any(|name| name == last(path))))
    };
    let settings = named("settings");
    // A build without settings stands alone, unless it lies in one that has them.
    let single = named("build").into_iter().filter(|root| !settings.iter().any(|known| lies_in(root, known)));
    let mut roots: Vec<&str> = settings.clone();
    for root in single {
        if !roots.iter().any(|known| lies_in(root, known)) {
            roots.push(root);
        }
    }
    for root in roots.into_iter().filter(|root| last(root) != "buildSrc") {
        let new = build(tree, root);
        let known = |module: &Module| modules.iter().any(|other| other.directory == module.directory);
        let new: Vec<Module> = new.into_iter().filter(|module| !known(module)).collect();
        modules.extend(new);
    }
    modules
}

fn script(tree: &Tree, directory: &str, stem: &str) -> Option<String> {
    [format!("{stem}.gradle"), format!("{stem}.gradle.kts")]
        .iter()
        .find_map(|name| tree.text(&within(directory, name)))
        .map(uncommented)
}

/// The modules of one build.
fn build(tree: &Tree, root: &str) -> Vec<Module> {
    let settings = script(tree, root, "settings").unwrap_or_default();
    let root_script = script(tree, root, "build").unwrap_or_default();
    let name = assigned(&settings, "rootProject.name").unwrap_or(if root.is_empty() {
        &tree.name
    } else {
        last(root)
    });
    let parts = parts(tree, root, &settings, &root_script);
    let shared = shared(tree, root);
    let directories: BTreeMap<&str, &str> =
        parts.iter().map(|part| (part.path.as_str(), part.directory.as_str())).collect();
    let depended: Vec<String> = parts.iter().flat_map(|part| depends(part, &directories)).collect();
    let module = |part: &Part| {
        let name = if part.path == ":" { name } else { last(&part.directory) };
        let mut module = Module::new(Tool::Gradle, name, &part.directory);
        module.depends = depends(part, &directories);
        module.shared.clone_from(&shared);
        let library = depended.contains(&part.directory);
        module.runs = runs(tree, part, library);
        module.command = Some(command(tree, root, "build"));
        let task = if part.path == ":" { "build".into() } else { format!("{}:build", part.path) };
        module.own_command = Some(command(tree, root, &task));
        if module.runs.is_some() {
            describe(tree, part, &parts, &mut module);
        }
        module
    };
    parts.iter().map(module).collect()
}

/// The command of the story: a wrapper where there is one, with the build cache and in parallel.
fn command(tree: &Tree, root: &str, task: &str) -> String {
    let wrapper = within(root, "gradlew");
    let program = if tree.has(&wrapper) { word(&format!("./{wrapper}")) } else { "gradle".into() };
    let place = if root.is_empty() { String::new() } else { format!(" -p {}", word(root)) };
    format!("{program}{place} {} --build-cache --parallel -Pversion={{tag}}", word(task))
}

fn parts(tree: &Tree, root: &str, settings: &str, root_script: &str) -> Vec<Part> {
    let included: Vec<&str> = after(settings, "include").into_iter().flat_map(list).collect();
    let everywhere = blocks(root_script, "allprojects").concat();
    let below = format!("{everywhere}\n{}", blocks(root_script, "subprojects").concat());
    let mut paths: Vec<String> =
        included.iter().map(|path| format!(":{}", path.trim_start_matches(':'))).collect();
    paths.sort();
    paths.dedup();
    let mut parts: Vec<Part> = paths
        .into_iter()
        .map(|path| {
            let moved = after(settings, "project").into_iter().find_map(|rest| moved(rest, &path));
            let relative = moved.unwrap_or_else(|| path.trim_start_matches(':').replace(':', "/"));
            let directory = join(root, &relative).unwrap_or_default();
            let own = script(tree, &directory, "build").unwrap_or_default();
            let outside: String =
                after(root_script, "project").into_iter().filter_map(|rest| about(rest, &path)).collect();
            let script = format!("{own}\n{below}\n{outside}");
            Part { path, directory, own, script }
        })
        .collect();
    if parts.is_empty() || tree.paths().any(|path| path.starts_with(&within(root, "src/main/"))) {
        let own = root_script.to_owned();
        parts.push(Part {
            path: ":".into(),
            directory: root.into(),
            script: format!("{own}\n{everywhere}"),
            own,
        });
    }
    parts
}

/// `project(':a').projectDir = file('x')`, the text after `project` given.
fn moved(rest: &str, path: &str) -> Option<String> {
    let (named, behind) = quoted(rest.trim_start().strip_prefix('(')?.trim_start())?;
    let line =
        behind.trim_start().strip_prefix(')')?.trim_start().strip_prefix(".projectDir")?.lines().next()?;
    let place = line.rsplit(['\'', '"']).nth(1)?;
    (format!(":{}", named.trim_start_matches(':')) == path).then(|| place.to_owned())
}

/// `project(':a') { … }` in the root's script, the text after `project` given.
fn about<'s>(rest: &'s str, path: &str) -> Option<&'s str> {
    let (named, behind) = quoted(rest.trim_start().strip_prefix('(')?.trim_start())?;
    (named == path).then(|| block(behind.trim_start().strip_prefix(')')?.trim_start())).flatten()
}

/// The directories of the modules that a module uses: `project(':a')`, `project(path: ':a')`, `projects.a`.
fn depends(part: &Part, directories: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for rest in after(&part.script, "project") {
        let Some(inside) = rest.trim_start().strip_prefix('(') else { continue };
        let inside = inside.trim_start().trim_start_matches("path").trim_start_matches([':', '=', ' ']);
        let Some((path, _)) = quoted(inside) else { continue };
        found.extend(directories.get(path).map(|directory| (*directory).to_owned()));
    }
    for (path, directory) in directories {
        let accessor = format!("projects{}", camel(&path.replace(':', ".")));
        let used = after(&part.script, &accessor)
            .iter()
            .any(|rest| !rest.starts_with('.') || rest.starts_with(".)"));
        if path.len() > 1 && used {
            found.push((*directory).to_owned());
        }
    }
    found.sort();
    found.dedup();
    found.retain(|directory| *directory != part.directory);
    found
}

/// `.common-dto` as type-safe accessors write it: `.commonDto`.
fn camel(path: &str) -> String {
    let mut upper = false;
    path.chars()
        .filter_map(|c| {
            if matches!(c, '-' | '_') {
                upper = true;
                return None;
            }
            let c = if std::mem::take(&mut upper) { c.to_ascii_uppercase() } else { c };
            Some(c)
        })
        .collect()
}

/// Why a module is something that runs, and not a library.
fn runs(tree: &Tree, part: &Part, library: bool) -> Option<String> {
    let disabled = ["bootJar { enabled = false", "bootJar {\n    enabled = false", "bootJar.enabled = false"];
    let squeezed = part.own.split_whitespace().collect::<Vec<_>>().join(" ");
    let no_boot_jar =
        disabled.iter().any(|text| squeezed.contains(&text.split_whitespace().collect::<Vec<_>>().join(" ")))
            || after(&squeezed, "bootJar").iter().any(|rest| {
                let head: String = rest.chars().take(40).collect();
                head.contains("enabled = false") || head.contains("enabled.set(false)")
            });
    if no_boot_jar {
        return None;
    }
    let applied = |script: &str, id: &str| {
        script.lines().any(|line| {
            let named = line.contains(&format!("'{id}'")) || line.contains(&format!("\"{id}\""));
            named && !line.contains("apply false") && !line.contains("classpath")
        })
    };
    let catalogue = |script: &str| {
        script.lines().any(|line| {
            line.contains("libs.plugins.") && line.contains("boot") && !line.contains("apply false")
        })
    };
    let boot = |script: &str| applied(script, "org.springframework.boot") || catalogue(script);
    let main = tree.paths().any(|path| {
        let stem = last(path).rsplit_once('.').map_or("", |(stem, _)| stem);
        path.starts_with(&within(&part.directory, "src/main/"))
            && (stem.ends_with("Application")
                || stem.ends_with("ApplicationKt")
                || matches!(stem, "Main" | "App"))
    });
    // Applied to every module from outside it says little: those without a main class are libraries.
    if boot(&part.own) || (boot(&part.script) && (main || !library)) {
        return Some("applies the Spring Boot plugin".into());
    }
    let application = applied(&part.own, "application")
        || blocks(&part.own, "plugins")
            .iter()
            .any(|block| block.lines().any(|line| line.trim() == "application"));
    if application {
        return Some("applies the application plugin".into());
    }
    if part.own.contains("Main-Class") {
        return Some("makes a jar with a Main-Class".into());
    }
    ["io.quarkus", "io.micronaut.application", "io.ktor.plugin"]
        .into_iter()
        .find(|id| applied(&part.own, id))
        .map(|id| format!("applies the plugin {id}"))
}

/// What the build leaves, the port and the health of something that runs.
fn describe(tree: &Tree, part: &Part, parts: &[Part], module: &mut Module) {
    let thin = module.runs.as_deref().is_some_and(|why| why.contains("application plugin"));
    let (artifact, unsure) = artifact(part, &module.name, thin);
    module.artifact = Some(within(&literal(&part.directory), &format!("build/libs/{artifact}")));
    module.unsure.extend(unsure);
    let all: Vec<&str> = parts
        .iter()
        .filter(|other| other.directory == part.directory || module.depends.contains(&other.directory))
        .map(|other| other.script.as_str())
        .collect();
    let uses = |word: &str| all.iter().any(|script| script.contains(word));
    let application = spring::application(tree, &part.directory);
    if uses("actuator") && !application.management_port {
        module.health = Some((application.health(), "it uses the actuator".into()));
    }
    module.port = application.port;
    let web = ["starter-web", "starter.web", "gateway", "eureka-server"].iter().any(|word| uses(word));
    if module.port.is_none() && web && module.runs.as_deref().is_some_and(|why| why.contains("Spring")) {
        module.port = Some((8080, "Spring Boot's default".into()));
    }
    let writes = part.script.contains("Dockerfile") && !tree.has(&within(&part.directory, "Dockerfile"));
    if writes {
        module.unsure.push("the build seems to write a Dockerfile: it is read after the build".into());
        module.dockerfile = Some((within(&part.directory, "Dockerfile"), false));
    }
}

/// The name of the jar, as a glob.
fn artifact(part: &Part, name: &str, thin: bool) -> (String, Option<String>) {
    let fixed = assigned(&part.own, "archiveFileName").or_else(|| assigned(&part.script, "archiveFileName"));
    if let Some(fixed) = fixed {
        return (interpolated(fixed), None);
    }
    let base = ["archivesName", "archivesBaseName", "archiveBaseName"]
        .iter()
        .find_map(|key| assigned(&part.own, key).or_else(|| assigned(&part.script, key)))
        .map_or_else(|| name.to_owned(), interpolated);
    let classifier = if part.own.contains("shadow") { "-all" } else { "" };
    let literal = part.script.lines().map(str::trim_start).find_map(|line| {
        line.starts_with("version")
            .then(|| assigned(line, "version"))
            .flatten()
            .filter(|text| !text.contains('$'))
    });
    match literal {
        Some(version) => (
            format!("{base}-{version}{classifier}.jar"),
            Some(format!("the build script sets version = {version}, which wins over -Pversion: drop that line to have the version in file names")),
        ),
        None => (
            format!("{base}-{{tag}}{classifier}.jar"),
            (thin && classifier.is_empty() && !part.own.contains("Main-Class"))
                .then(|| "a jar of the application plugin does not hold its dependencies: the shadow plugin makes one that does".into()),
        ),
    }
}

/// A file name with `${…}` in it as a glob: versions become `{tag}`, the rest `*`.
fn interpolated(text: &str) -> String {
    let mut glob = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        glob.push_str(before);
        let (name, tail) = match behind.strip_prefix('{') {
            Some(inside) => inside.split_once('}').unwrap_or((inside, "")),
            None => {
                let end = behind.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        glob.push_str(if name.to_lowercase().contains("version") { "{tag}" } else { "*" });
        rest = tail;
    }
    glob.push_str(rest);
    glob
}

/// Files of the whole build that every module is made from.
fn shared(tree: &Tree, root: &str) -> Vec<String> {
    let mut shared: Vec<String> =
        ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "gradle.properties"]
            .iter()
            .map(|name| within(root, name))
            .filter(|path| tree.has(path))
            .collect();
    for directory in ["gradle", "buildSrc"] {
        let directory = within(root, directory);
        if tree.paths().any(|path| path.starts_with(&format!("{directory}/"))) {
            shared.push(format!("{directory}/**"));
        }
    }
    shared
}
