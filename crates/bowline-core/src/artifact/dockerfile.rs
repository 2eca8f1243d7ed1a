//! The Dockerfile for an artifact. The same text is used at once and written out for the team to adopt: it names the
//! artifact by way of build arguments, so that no version stands in it, and gives it a stable name inside the image.

use std::fmt::Write;

use super::{Artifact, Dependencies, Linkage, jar};

/// The version, `5.0.2-b321acf`: every build is given it as build argument and as environment variable.
pub const VERSION: &str = "BOWLINE_VERSION";
/// The tag, `v5.0.2-b321acf`.
pub const TAG: &str = "BOWLINE_TAG";
/// The service's name, in the environment of a build.
pub const SERVICE: &str = "BOWLINE_SERVICE";

/// What the Dockerfile is for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The service: a binary is called so inside the image.
    pub service: &'a str,
    /// The artifact in the build context; may hold `${BOWLINE_TAG}` or `${BOWLINE_VERSION}`; `.` is the context itself.
    pub source: &'a str,
    /// The base image to use instead of the proposed one.
    pub base: Option<&'a str>,
    /// The port that the service listens on.
    pub port: Option<u16>,
}

/// The Dockerfile that makes an image of this artifact.
pub fn render(artifact: &Artifact, wish: &Wish<'_>) -> String {
    let proposed = base(artifact);
    let base = wish.base.unwrap_or(&proposed);
    let mut text = format!("# {}, made by `bowline build`.\n", capital(&artifact.describe()));
    let arguments: Vec<(&str, &str)> = [(VERSION, "1.2.3-0a1b2c3"), (TAG, "v1.2.3-0a1b2c3")]
        .into_iter()
        .filter(|(argument, _)| wish.source.contains(&format!("${{{argument}}}")))
        .collect();
    for (argument, example) in &arguments {
        let _ = writeln!(text, "# Without Bowline: docker build --build-arg {argument}={example} …");
    }
    let _ = writeln!(text, "FROM {base}");
    for (argument, _) in &arguments {
        let _ = writeln!(text, "ARG {argument}");
    }
    let port = match artifact {
        Artifact::Site => Some(wish.port.unwrap_or(8080)),
        _ => wish.port,
    };
    let body = match artifact {
        Artifact::Jar { .. } => single(wish, "/app/app.jar", &["java", "-jar", "/app/app.jar"]),
        Artifact::Zipapp => single(wish, "/app/app.pyz", &["python", "/app/app.pyz"]),
        Artifact::Binary { .. } => {
            let inside = format!("/app/{}", wish.service);
            single(wish, &inside, &[&inside])
        }
        Artifact::Node { command, dependencies, .. } => node(wish, command, *dependencies),
        Artifact::Python { entry, dependencies } => python(wish, entry, *dependencies),
        Artifact::Site => site(wish, base, port.unwrap_or(8080)),
    };
    text.push_str(&body.copy);
    if let Some(port) = port {
        let _ = writeln!(text, "EXPOSE {port}");
    }
    text.push_str(&body.command);
    text
}

/// The base image that is proposed for an artifact.
pub fn base(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Jar { java } => format!("eclipse-temurin:{}-jre", jar::runtime(*java)),
        Artifact::Binary { linkage: Linkage::Static, .. } => "scratch".into(),
        Artifact::Binary { linkage: Linkage::Musl, .. } => "alpine:3".into(),
        Artifact::Binary { linkage: Linkage::Glibc { at_least }, .. } => match at_least {
            // The C library of Debian 12 is 2.36, that of Debian 13 is 2.41.
            Some(version) if *version <= (2, 36) => "debian:12-slim".into(),
            Some(version) if *version > (2, 41) => "debian:testing-slim".into(),
            _ => "debian:13-slim".into(),
        },
        Artifact::Node { version, .. } => format!("node:{}-slim", version.unwrap_or(24)),
        Artifact::Python { .. } | Artifact::Zipapp => "python:3.13-slim".into(),
        Artifact::Site => "caddy:2-alpine".into(),
    }
}

struct Body {
    copy: String,
    command: String,
}

fn single(wish: &Wish<'_>, inside: &str, command: &[&str]) -> Body {
    Body { copy: copy(wish.source, inside), command: exec("ENTRYPOINT", command) }
}

fn node(wish: &Wish<'_>, command: &[String], dependencies: Dependencies) -> Body {
    let mut text = String::from("WORKDIR /app\n");
    let install = match dependencies {
        Dependencies::NpmLock => "npm ci --omit=dev",
        Dependencies::Npm => "npm install --omit=dev",
        _ => "",
    };
    if !install.is_empty() {
        // The manifests first: the engine then keeps the installed packages while only sources change.
        text.push_str(&copy(&within(wish.source, "package*.json"), "./"));
        let _ = writeln!(text, "RUN {install}");
    }
    text.push_str(&copy(&folder(wish.source), "./"));
    text.push_str("ENV NODE_ENV=production\n");
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    Body { copy: text, command: exec("CMD", &words) }
}

fn python(wish: &Wish<'_>, entry: &str, dependencies: Dependencies) -> Body {
    let mut text = String::from("WORKDIR /app\n");
    if dependencies == Dependencies::Requirements {
        text.push_str(&copy(&within(wish.source, "requirements.txt"), "./"));
        text.push_str("RUN pip install --no-cache-dir -r requirements.txt\n");
    }
    text.push_str(&copy(&folder(wish.source), "./"));
    if dependencies == Dependencies::Project {
        text.push_str("RUN pip install --no-cache-dir .\n");
    }
    // Without it, what the service prints stays in a buffer and its logs come late or, when it dies, never.
    text.push_str("ENV PYTHONUNBUFFERED=1\n");
    Body { copy: text, command: exec("CMD", &["python", entry]) }
}

fn site(wish: &Wish<'_>, base: &str, port: u16) -> Body {
    let source = folder(wish.source);
    if base.contains("nginx") {
        return Body { copy: copy(&source, "/usr/share/nginx/html/"), command: String::new() };
    }
    if base.contains("httpd") {
        return Body { copy: copy(&source, "/usr/local/apache2/htdocs/"), command: String::new() };
    }
    let listen = format!(":{port}");
    let command = exec("CMD", &["caddy", "file-server", "--root", "/srv", "--listen", &listen]);
    Body { copy: copy(&source, "/srv/"), command }
}

fn copy(source: &str, inside: &str) -> String {
    if source.contains(char::is_whitespace) || inside.contains(char::is_whitespace) {
        exec("COPY", &[source, inside])
    } else {
        format!("COPY {source} {inside}\n")
    }
}

fn folder(source: &str) -> String {
    if source == "." { ".".into() } else { format!("{}/", source.trim_end_matches('/')) }
}

fn within(source: &str, name: &str) -> String {
    if source == "." { name.into() } else { format!("{}/{name}", source.trim_end_matches('/')) }
}

fn exec(instruction: &str, words: &[&str]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| serde_json::Value::from(*word)).map(|word| word.to_string()).collect();
    format!("{instruction} [{}]\n", words.join(", "))
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Platform;

    fn wish(source: &str) -> Wish<'_> {
        Wish { service: "user", source, base: None, port: Some(8010) }
    }

    #[test]
    fn no_version_stands_in_the_text() {
        let text = render(
            &Artifact::Jar { java: Some(17) },
            &wish("build/libs/shop-user-service-${BOWLINE_TAG}.jar"),
        );
        insta::assert_snapshot!(text, @r#"
        # Runnable jar for Java 17, made by `bowline build`.
        # Without Bowline: docker build --build-arg BOWLINE_TAG=v1.2.3-0a1b2c3 …
        FROM eclipse-temurin:17-jre
        ARG BOWLINE_TAG
        COPY build/libs/shop-user-service-${BOWLINE_TAG}.jar /app/app.jar
        EXPOSE 8010
        ENTRYPOINT ["java", "-jar", "/app/app.jar"]
        "#);
    }

    #[test]
    fn a_static_binary_needs_no_base() {
        let artifact = Artifact::Binary { platform: Platform::linux("amd64"), linkage: Linkage::Static };
        insta::assert_snapshot!(render(&artifact, &wish("target/release/user")), @r#"
        # Static binary for linux/amd64, made by `bowline build`.
        FROM scratch
        COPY target/release/user /app/user
        EXPOSE 8010
        ENTRYPOINT ["/app/user"]
        "#);
    }

    #[test]
    fn a_dynamic_binary_gets_a_c_library_that_is_new_enough() {
        for (at_least, expected) in [
            (Some((2, 17)), "debian:12-slim"),
            (Some((2, 39)), "debian:13-slim"),
            (Some((2, 42)), "debian:testing-slim"),
            (None, "debian:13-slim"),
        ] {
            let artifact =
                Artifact::Binary { platform: Platform::linux("amd64"), linkage: Linkage::Glibc { at_least } };
            assert_eq!(base(&artifact), expected);
        }
    }

    #[test]
    fn a_node_application_installs_before_its_sources_come() {
        let artifact = Artifact::Node {
            command: vec!["node".into(), "server.js".into()],
            version: Some(22),
            dependencies: Dependencies::NpmLock,
        };
        insta::assert_snapshot!(render(&artifact, &wish(".")), @r#"
        # Node application, made by `bowline build`.
        FROM node:22-slim
        WORKDIR /app
        COPY package*.json ./
        RUN npm ci --omit=dev
        COPY . ./
        ENV NODE_ENV=production
        EXPOSE 8010
        CMD ["node", "server.js"]
        "#);
    }

    #[test]
    fn a_python_application_says_its_logs_at_once() {
        let artifact = Artifact::Python { entry: "main.py".into(), dependencies: Dependencies::Requirements };
        insta::assert_snapshot!(render(&artifact, &wish("src")), @r#"
        # Python application, made by `bowline build`.
        FROM python:3.13-slim
        WORKDIR /app
        COPY src/requirements.txt ./
        RUN pip install --no-cache-dir -r requirements.txt
        COPY src/ ./
        ENV PYTHONUNBUFFERED=1
        EXPOSE 8010
        CMD ["python", "main.py"]
        "#);
    }

    #[test]
    fn a_site_listens_where_the_service_is_expected() {
        insta::assert_snapshot!(render(&Artifact::Site, &wish("web/my site")), @r#"
        # Static site, made by `bowline build`.
        FROM caddy:2-alpine
        COPY ["web/my site/", "/srv/"]
        EXPOSE 8010
        CMD ["caddy", "file-server", "--root", "/srv", "--listen", ":8010"]
        "#);
        let text =
            render(&Artifact::Site, &Wish { base: Some("nginxinc/nginx-unprivileged"), ..wish("dist") });
        assert!(text.contains("COPY dist/ /usr/share/nginx/html/"), "{text}");
    }
}
