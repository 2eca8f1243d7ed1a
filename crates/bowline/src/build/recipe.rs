//! What an image is made from: a Dockerfile and its context. Looked for after the build, because builds write
//! Dockerfiles too; made from the artifact where there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bowline_core::artifact::Artifact;
use bowline_core::artifact::dockerfile::{TAG, VERSION, Wish, render};
use bowline_core::image::Platform;
use bowline_core::placeholder::Placeholders;

use super::artifact;
use super::inspection::{InspectError, inspect};
use crate::config::{Config, Service};
use crate::error::{Attempt, Failure, Outcome};

const DOCKERFILE: &str = "Dockerfile";
/// Files by which a folder shows that it is a module of its own.
const MODULE: [&str; 8] = [
    "build.gradle",
    "build.gradle.kts",
    "pom.xml",
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "requirements.txt",
    "go.mod",
];

/// A Dockerfile, its context and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The directory that it copies from.
    pub context: PathBuf,
    /// Where the Dockerfile is.
    pub dockerfile: PathBuf,
    /// Its text, read after the build.
    pub text: String,
    /// The build arguments: only those that the text names, so that no engine complains of unused ones.
    pub arguments: BTreeMap<String, String>,
    /// What the image is for.
    pub platform: Platform,
    /// What the Dockerfile was made from, where it was made.
    pub made_from: Option<Artifact>,
}

/// A service's sources, as its configuration leads to them.
struct Place {
    /// The artifact, relative to the project's directory.
    artifact: Option<PathBuf>,
    /// The Dockerfile that is there, relative to the project's directory.
    dockerfile: Option<PathBuf>,
}

/// Finds or makes the recipe of a service. A Dockerfile that is made is written into `scratch`, beside the logs.
///
/// # Errors
/// When the artifact is not exactly one, a configured Dockerfile is not there, or none can be made.
pub fn choose(config: &Config, service: &Service, values: &Placeholders, scratch: &Path) -> Outcome<Recipe> {
    let root = &config.directory;
    let place = locate(config, service, values)?;
    if let Some(dockerfile) = place.dockerfile {
        let context = match &service.context {
            Some(context) => root.join(context),
            None => root.join(dockerfile.parent().unwrap_or(Path::new(""))),
        };
        let path = root.join(&dockerfile);
        let text = std::fs::read_to_string(&path).attempt(|| format!("reading {}", path.display()))?;
        let platform = service.platform.clone().unwrap_or_else(own_platform);
        return Ok(Recipe {
            context,
            dockerfile: path,
            arguments: arguments(&text, values),
            text,
            platform,
            made_from: None,
        });
    }
    let subject = subject(service, place.artifact)?;
    let path = root.join(&subject);
    let made_from = recognise(service, &path, &subject)?;
    let (context, source) = if path.is_dir() {
        (path.clone(), ".".to_owned())
    } else {
        let name = subject.file_name().unwrap_or_default().to_string_lossy();
        (path.parent().unwrap_or(root).to_owned(), templated(&name, values))
    };
    let text = text(service, &made_from, &source);
    let dockerfile = scratch.join(format!("{}.{DOCKERFILE}", service.name));
    std::fs::create_dir_all(scratch)
        .and_then(|()| std::fs::write(&dockerfile, &text))
        .attempt(|| format!("writing {}", dockerfile.display()))?;
    let platform = platform(service, &made_from)?;
    let arguments = arguments(&text, values);
    Ok(Recipe { context, dockerfile, text, arguments, platform, made_from: Some(made_from) })
}

/// A Dockerfile for the team to adopt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Where it goes, relative to the project's directory.
    pub path: String,
    /// What stands in it.
    pub text: String,
    /// The line that `[services.X]` needs for it to be found, where it does not lie where it is looked for.
    pub setting: Option<String>,
}

/// The Dockerfile to write next to a service that has none; `None` where it has one.
///
/// # Errors
/// As [`choose`].
pub fn adopt(config: &Config, service: &Service, values: &Placeholders) -> Outcome<Option<Adopted>> {
    let place = locate(config, service, values)?;
    if place.dockerfile.is_some() {
        return Ok(None);
    }
    let subject = subject(service, place.artifact)?;
    let path = config.directory.join(&subject);
    let artifact = recognise(service, &path, &subject)?;
    let home = match &service.context {
        Some(context) => PathBuf::from(context),
        None => module(&config.directory, &subject),
    };
    let source = match subject.strip_prefix(&home) {
        Ok(rest) if rest.as_os_str().is_empty() => ".".to_owned(),
        Ok(rest) => templated(&rest.to_string_lossy(), values),
        // The context lies beside the artifact: what is outside it cannot be copied.
        Err(_) => {
            return Err(Failure::invalid(format!("writing a Dockerfile for {}", service.name))
                .since(format!(
                    "its artifact {} lies outside its context {}",
                    subject.display(),
                    home.display()
                ))
                .hint("make `context` a directory above the artifact"));
        }
    };
    let (path, setting) = destination(config, service, &home, &artifact, &source);
    Ok(Some(Adopted { path, text: text(service, &artifact, &source), setting }))
}

/// Where a Dockerfile goes, and what the configuration needs for it to be found there.
fn destination(
    config: &Config,
    service: &Service,
    home: &Path,
    artifact: &Artifact,
    source: &str,
) -> (String, Option<String>) {
    let beside = !home.as_os_str().is_empty() && home != Path::new(".");
    let context = home.display();
    // A site is served whole: its Dockerfile must not lie in it.
    if beside && source == "." && *artifact == Artifact::Site {
        let name = format!("{context}.{DOCKERFILE}");
        let setting = format!("context = \"{context}\", dockerfile = \"{name}\"");
        (name, Some(setting))
    } else if beside || config.services.len() == 1 {
        (home.join(DOCKERFILE).to_string_lossy().into_owned(), None)
    } else {
        let name = format!("{}.{DOCKERFILE}", service.name);
        (name.clone(), Some(format!("dockerfile = \"{name}\"")))
    }
}

fn locate(config: &Config, service: &Service, values: &Placeholders) -> Outcome<Place> {
    let root = &config.directory;
    let values = values.clone().service(service.name.as_str());
    let artifact = match &service.artifact {
        Some(pattern) => Some(artifact::find(root, service.name.as_str(), pattern, &values)?),
        None => None,
    };
    let dockerfile = if let Some(configured) = &service.dockerfile {
        if !root.join(configured).is_file() {
            return Err(Failure::failed(format!("reading the Dockerfile of {}", service.name))
                .since(format!("there is no {configured} after the build"))
                .hint(format!(
                    "correct services.{}.dockerfile, or leave it out to have one made",
                    service.name
                )));
        }
        Some(PathBuf::from(configured))
    } else if let Some(context) = &service.context {
        Some(Path::new(context).join(DOCKERFILE))
    } else {
        // The root's Dockerfile is a service's only where there is but one.
        let alone = config.services.len() == 1;
        let start = artifact.as_deref().unwrap_or(Path::new(""));
        let places = start.ancestors().filter(|place| alone || !place.as_os_str().is_empty());
        places.map(|place| place.join(DOCKERFILE)).find(|path| root.join(path).is_file())
    };
    Ok(Place { artifact, dockerfile: dockerfile.filter(|path| root.join(path).is_file()) })
}

/// What a Dockerfile is made from: the artifact, else the context itself.
fn subject(service: &Service, artifact: Option<PathBuf>) -> Outcome<PathBuf> {
    artifact.or_else(|| service.context.as_ref().map(PathBuf::from)).ok_or_else(|| {
        let name = &service.name;
        Failure::invalid(format!("making an image of {name}"))
            .since("it has no Dockerfile, and nothing says what its build leaves")
            .hint(format!("set `artifact`, `context` or `dockerfile` in [services.{name}]"))
    })
}

fn recognise(service: &Service, path: &Path, subject: &Path) -> Outcome<Artifact> {
    inspect(path).map_err(|error| {
        let failure =
            Failure::failed(format!("making a Dockerfile for {} from {}", service.name, subject.display()));
        match &error {
            InspectError::Unknown(unknown) => failure.because(&error).hint(unknown.hint()),
            _ => failure.because(&error),
        }
    })
}

fn text(service: &Service, artifact: &Artifact, source: &str) -> String {
    let base = service.base.as_ref().map(ToString::to_string);
    let wish = Wish { service: service.name.as_str(), source, base: base.as_deref(), port: service.port };
    render(artifact, &wish)
}

fn platform(service: &Service, artifact: &Artifact) -> Outcome<Platform> {
    match (&service.platform, artifact.platform()) {
        (Some(wanted), Some(made)) if !made.runs_on(wanted) => {
            Err(Failure::failed(format!("making an image of {} for {wanted}", service.name))
                .since(format!("its artifact is a {}", artifact.describe()))
                .hint("build it for that platform, or correct `platform`"))
        }
        (Some(wanted), _) => Ok(wanted.clone()),
        (None, Some(made)) => Ok(made.clone()),
        (None, None) => Ok(own_platform()),
    }
}

fn own_platform() -> Platform {
    Platform::linux(std::env::consts::ARCH)
}

/// A path in which version and tag are written as build arguments.
fn templated(path: &str, values: &Placeholders) -> String {
    let mut text = path.to_owned();
    for (pattern, variable) in [("{tag}", TAG), ("{version}", VERSION)] {
        text = text.replace(&values.fill(pattern), &format!("${{{variable}}}"));
    }
    text
}

fn arguments(text: &str, values: &Placeholders) -> BTreeMap<String, String> {
    [(VERSION, "{version}"), (TAG, "{tag}")]
        .into_iter()
        .filter(|(name, _)| text.contains(name))
        .map(|(name, pattern)| (name.to_owned(), values.fill(pattern)))
        .collect()
}

/// The folder of the module that a path belongs to: the nearest above it with a build file, else the root.
fn module(root: &Path, path: &Path) -> PathBuf {
    path.ancestors()
        .find(|place| MODULE.iter().any(|name| root.join(place).join(name).is_file()))
        .unwrap_or(Path::new(""))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        [project]
        name = "shop"
        [services.user]
        artifact = "user/build/libs/*-{tag}.jar"
        port = 8010
        [services.web]
        artifact = "web/dist"
        base = "example.com/nginx:1"
    "#;

    fn tree(paths: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in paths {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    fn jar() -> Vec<u8> {
        use std::io::Write;
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file("META-INF/MANIFEST.MF", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(b"Main-Class: a.Main\n").unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn values() -> Placeholders {
        Placeholders::new("5.0.2-b321acf")
    }

    fn check(root: &Path, toml: &str, name: &str) -> Outcome<Recipe> {
        let config = Config::parse(toml, root).unwrap();
        choose(&config, config.service(name).unwrap(), &values(), &root.join("scratch"))
    }

    #[test]
    fn a_dockerfile_is_made_from_the_artifact() {
        let jar = jar();
        let root = tree(&[
            ("user/build/libs/shop-user-v5.0.2-b321acf.jar", &jar),
            ("web/dist/index.html", b"hi"),
            ("Dockerfile", b"FROM scratch"),
        ]);
        let recipe = check(root.path(), TOML, "user").unwrap();
        assert_eq!(recipe.context, root.path().join("user/build/libs"));
        assert!(
            recipe
                .text
                .contains("ARG BOWLINE_TAG\nCOPY shop-user-${BOWLINE_TAG}.jar /app/app.jar\nEXPOSE 8010")
        );
        assert_eq!(recipe.arguments, BTreeMap::from([(TAG.into(), "v5.0.2-b321acf".into())]));
        assert_eq!(std::fs::read_to_string(&recipe.dockerfile).unwrap(), recipe.text);
        let recipe = check(root.path(), TOML, "web").unwrap();
        assert_eq!(recipe.made_from, Some(Artifact::Site));
        assert!(
            recipe.text.contains("FROM example.com/nginx:1\nCOPY . /usr/share/nginx/html/"),
            "{}",
            recipe.text
        );
    }

    #[test]
    fn a_dockerfile_beside_the_artifact_or_above_it_is_used() {
        let jar = jar();
        for (dockerfile, context) in
            [("user/Dockerfile", "user"), ("user/build/libs/Dockerfile", "user/build/libs")]
        {
            let root = tree(&[
                ("user/build/libs/shop-user-v5.0.2-b321acf.jar", &jar),
                (dockerfile, b"FROM scratch\nARG BOWLINE_VERSION\n"),
            ]);
            let recipe = check(root.path(), TOML, "user").unwrap();
            assert_eq!(recipe.context, root.path().join(context));
            assert_eq!(recipe.arguments.keys().collect::<Vec<_>>(), [VERSION]);
            assert_eq!(recipe.made_from, None);
        }
    }

    #[test]
    fn a_configured_dockerfile_has_to_be_there() {
        let root = tree(&[]);
        let toml = "[project]\nname = \"x\"\n[services.a]\ndockerfile = \"docker/a\"\n";
        let failure = check(root.path(), toml, "a").unwrap_err();
        assert!(failure.to_string().contains("there is no docker/a after the build"), "{failure}");
    }

    #[test]
    fn what_cannot_be_recognised_says_what_to_do() {
        let root = tree(&[("user/build/libs/a-v5.0.2-b321acf.jar", b"PK\x05\x06 no zip")]);
        let failure = check(root.path(), TOML, "user").unwrap_err();
        assert!(
            failure.to_string().starts_with("making a Dockerfile for user from user/build/libs/a-v5.0.2"),
            "{failure}"
        );
        let toml = "[project]\nname = \"x\"\n[services.a]\nport = 1\n[services.b]\nport = 2\n";
        assert_eq!(check(root.path(), toml, "a").unwrap_err().kind.code(), 2);
    }

    #[test]
    fn a_dockerfile_to_adopt_lies_with_its_module_and_names_no_version() {
        let jar = jar();
        let root = tree(&[
            ("user/build.gradle", b""),
            ("user/build/libs/shop-user-v5.0.2-b321acf.jar", &jar),
            ("web/dist/index.html", b"hi"),
        ]);
        let config = Config::parse(TOML, root.path()).unwrap();
        let adopted = |name| adopt(&config, config.service(name).unwrap(), &values()).unwrap().unwrap();
        let user = adopted("user");
        assert_eq!((user.path.as_str(), &user.setting), ("user/Dockerfile", &None));
        assert!(
            user.text.contains("COPY build/libs/shop-user-${BOWLINE_TAG}.jar /app/app.jar"),
            "{}",
            user.text
        );
        let web = adopted("web");
        assert_eq!(web.path, "web.Dockerfile");
        assert_eq!(web.setting.as_deref(), Some("dockerfile = \"web.Dockerfile\""));
        assert!(web.text.contains("COPY web/dist/ /usr"), "{}", web.text);
    }
}
