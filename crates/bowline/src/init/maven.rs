//! Maven builds: a `pom.xml` and those of its modules.

use roxmltree::{Document, Node, ParsingOptions};

use super::module::{Module, Tool};
use super::place::{join, last, literal, outermost, within, word};
use super::spring;
use super::tree::Tree;

/// What one `pom.xml` says.
struct Pom {
    directory: String,
    artifact: String,
    packaging: String,
    /// As written, with `${…}` in it, where the file says it at all.
    version: Option<String>,
    final_name: Option<String>,
    modules: Vec<String>,
    dependencies: Vec<String>,
    /// Plugins that apply, not merely managed ones.
    plugins: Vec<String>,
    revision: bool,
    skips_repackage: bool,
    main_class: bool,
}

/// All modules of all Maven builds.
pub(super) fn modules(tree: &Tree) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for root in outermost(tree.paths().filter(|path| last(path) == "pom.xml")) {
        // A build that no other one names as its module stands alone, wherever it lies.
        if !seen.iter().any(|directory| directory == root) {
            let (directories, found) = build(tree, root);
            seen.extend(directories);
            modules.extend(found);
        }
    }
    modules
}

/// The directories of one build, and its modules.
fn build(tree: &Tree, root: &str) -> (Vec<String>, Vec<Module>) {
    let mut poms: Vec<Pom> = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let known = poms.iter().any(|pom| pom.directory == directory);
        let Some(pom) = (!known).then(|| pom(tree, &directory)).flatten() else { continue };
        waiting.extend(pom.modules.iter().filter_map(|module| join(&directory, module)));
        poms.push(pom);
    }
    let everywhere: Vec<String> = poms.first().map(|pom| pom.plugins.clone()).unwrap_or_default();
    let revision = poms.iter().any(|pom| pom.revision);
    let several = poms.len() > 1;
    let mut modules: Vec<Module> = poms
        .iter()
        .filter(|pom| pom.packaging != "pom")
        .map(|pom| module(tree, pom, &poms, &everywhere, root, revision, several))
        .collect();
    modules.sort_by(|one, other| one.directory.cmp(&other.directory));
    (poms.into_iter().map(|pom| pom.directory).collect(), modules)
}

fn module(
    tree: &Tree,
    pom: &Pom,
    poms: &[Pom],
    everywhere: &[String],
    root: &str,
    revision: bool,
    several: bool,
) -> Module {
    let name = if pom.directory.is_empty() { &pom.artifact } else { last(&pom.directory) };
    let mut module = Module::new(Tool::Maven, name, &pom.directory);
    module.alias = Some(pom.artifact.clone());
    let others = poms.iter().filter(|other| pom.dependencies.contains(&other.artifact));
    module.depends = others.map(|other| other.directory.clone()).collect();
    module.shared = vec![within(root, "pom.xml")];
    let wrapper = within(root, ".mvn");
    if tree.paths().any(|path| path.starts_with(&format!("{wrapper}/"))) {
        module.shared.push(format!("{wrapper}/**"));
    }
    module.command = Some(command(tree, root, "", revision));
    let only = pom.directory.strip_prefix(root).unwrap_or(&pom.directory).trim_start_matches('/');
    let own = if several { format!(" -pl {} -am", word(only)) } else { String::new() };
    module.own_command = Some(command(tree, root, &own, revision));
    let has = |part: &str| {
        [&pom.plugins[..], everywhere]
            .iter()
            .any(|plugins| plugins.iter().any(|plugin| plugin.contains(part)))
    };
    module.runs = if pom.skips_repackage {
        None
    } else if has("spring-boot-maven-plugin") {
        Some("uses the Spring Boot plugin".into())
    } else if has("quarkus-maven-plugin") {
        Some("uses the Quarkus plugin".into())
    } else if (has("shade") || has("assembly") || has("jar-plugin")) && pom.main_class {
        Some("makes a jar with a main class".into())
    } else {
        None
    };
    if module.runs.is_some() {
        describe(tree, pom, revision, &mut module);
    }
    module
}

fn describe(tree: &Tree, pom: &Pom, revision: bool, module: &mut Module) {
    let (jar, unsure) = match (&pom.final_name, pom.version.as_deref()) {
        (Some(name), _) => (name.replace("${project.artifactId}", &pom.artifact), None),
        _ if revision => (format!("{}-{{version}}", pom.artifact), None),
        (None, Some(version)) if !version.contains("${") => (
            format!("{}-{version}", pom.artifact),
            Some(format!(
                "the version {version} in pom.xml is fixed: `<version>${{revision}}</version>` takes it from the command line"
            )),
        ),
        _ => (
            format!("{}-*", pom.artifact),
            Some("the version that Maven puts into the file name was not found".into()),
        ),
    };
    let jar = jar.replace("${project.version}", "*").replace("${revision}", "{version}");
    module.artifact = Some(within(&literal(&pom.directory), &format!("target/{jar}.{}", pom.packaging)));
    module.unsure.extend(unsure);
    let application = spring::application(tree, &pom.directory);
    let uses = |word: &str| pom.dependencies.iter().any(|dependency| dependency.contains(word));
    if uses("spring-boot-starter-actuator") && !application.management_port {
        module.health = Some((application.health(), "it uses the actuator".into()));
    }
    module.port = application.port;
    let web = uses("starter-web") || uses("gateway") || uses("eureka-server");
    if module.port.is_none() && web {
        module.port = Some((8080, "Spring Boot's default".into()));
    }
}

fn command(tree: &Tree, root: &str, only: &str, revision: bool) -> String {
    let wrapper = within(root, "mvnw");
    let program = if tree.has(&wrapper) { word(&format!("./{wrapper}")) } else { "mvn".into() };
    let place =
        if root.is_empty() { String::new() } else { format!(" -f {}", word(&within(root, "pom.xml"))) };
    let version = if revision { " -Drevision={version}" } else { "" };
    format!("{program} -B{place}{only} package{version}")
}

fn pom(tree: &Tree, directory: &str) -> Option<Pom> {
    let text = tree.text(&within(directory, "pom.xml"))?;
    // A DTD is allowed, what it defines is limited by the parser.
    let options = ParsingOptions { allow_dtd: true, nodes_limit: 200_000, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).ok()?;
    let project = document.root_element();
    let text_of = |node: Node<'_, '_>, name: &str| {
        child(node, name).and_then(|node| node.text()).map(|text| text.trim().to_owned())
    };
    let parent_version = child(project, "parent").and_then(|node| text_of(node, "version"));
    let in_repository = child(project, "parent").is_some_and(|node| {
        let path = text_of(node, "relativePath").unwrap_or_else(|| "../pom.xml".into());
        join(directory, &path).is_some_and(|path| tree.has(&path) || tree.has(&within(&path, "pom.xml")))
    });
    let own_version = text_of(project, "version");
    let version = own_version.or(if in_repository { parent_version } else { None });
    let build = child(project, "build");
    let plugins: Vec<Node<'_, '_>> = build
        .and_then(|build| child(build, "plugins"))
        .into_iter()
        .flat_map(|list| list.children())
        .filter(Node::is_element)
        .collect();
    let skips = |plugin: &Node<'_, '_>| {
        plugin
            .descendants()
            .any(|node| node.tag_name().name() == "skip" && node.text().map(str::trim) == Some("true"))
    };
    let dependencies = child(project, "dependencies").into_iter().flat_map(|list| list.children());
    Some(Pom {
        directory: directory.into(),
        artifact: text_of(project, "artifactId")?,
        packaging: text_of(project, "packaging").unwrap_or_else(|| "jar".into()),
        revision: text.contains("${revision}"),
        version,
        final_name: build.and_then(|build| text_of(build, "finalName")),
        modules: child(project, "modules")
            .into_iter()
            .flat_map(|list| list.children())
            .filter_map(|node| node.text().map(str::trim))
            .filter(|module| !module.is_empty())
            .map(|module| module.trim_end_matches("/pom.xml").to_owned())
            .collect(),
        dependencies: dependencies.filter_map(|node| text_of(node, "artifactId")).collect(),
        plugins: plugins.iter().filter_map(|plugin| text_of(*plugin, "artifactId")).collect(),
        skips_repackage: plugins.iter().any(skips),
        main_class: text.contains("mainClass"),
    })
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}
