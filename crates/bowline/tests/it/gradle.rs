//! The story's project, built for real: Gradle, two services and a shared module, Dockerfiles that the build writes
//! with the version inside, and a Java runtime made with jlink as their base.

use std::path::{Path, PathBuf};
use std::process::Command;

use bowline_core::digest::Digest;
use bowline_testkit::host::Host;
use bowline_testkit::java;
use bowline_testkit::registry::{Registry, start_docker_registry};
use bowline_testkit::repository::{Origin, Repository};
use bowline_testkit::skip::{missing_program, skip};

/// The command of the story, with what this machine needs to work without a network.
const COMMAND: &str = "gradle --offline build --build-cache --parallel -Pversion={tag}";

/// Runs a program and gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The files of the project, by path. `runtime` is the image that its Dockerfiles start from.
fn project(runtime: &str) -> Vec<(String, String)> {
    let mut files = vec![
        ("settings.gradle".into(), "include 'common-dto', 'shop-user-service', 'shop-chat-service'\n".into()),
        (
            "build.gradle".into(),
            "subprojects {\n    apply plugin: 'java'\n    version = project.findProperty('version')\n    \
             sourceCompatibility = 11\n    targetCompatibility = 11\n}\n"
                .into(),
        ),
        ("common-dto/src/main/java/com/shop/dto/Greeting.java".into(), GREETING.into()),
        // Nobody needs the daemon when the test has ended.
        ("gradle.properties".into(), "org.gradle.daemon.idletimeout=20000\n".into()),
        (".gitignore".into(), "build/\n.gradle/\nDockerfile\n".into()),
    ];
    for (name, class) in [("user", "User"), ("chat", "Chat")] {
        let folder = format!("shop-{name}-service");
        files.push((format!("{folder}/build.gradle"), service_build(name, class, runtime)));
        let path = format!("{folder}/src/main/java/com/shop/{name}/{class}Application.java");
        files.push((path, application(name, class, "one")));
    }
    files
}

const GREETING: &str = r#"package com.shop.dto;

public final class Greeting {
    private Greeting() {}

    public static String of(String service, String word) {
        return service + " says " + word + "\n";
    }
}
"#;

/// The source of a service that answers every request with its name and a word.
fn application(name: &str, class: &str, word: &str) -> String {
    format!(
        r#"package com.shop.{name};

import com.shop.dto.Greeting;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public class {class}Application {{
    public static void main(String[] arguments) throws Exception {{
        HttpServer server = HttpServer.create(new InetSocketAddress(8010), 0);
        byte[] body = Greeting.of("{name}", "{word}").getBytes();
        server.createContext("/", exchange -> {{
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        }});
        server.start();
    }}
}}
"#
    )
}

/// A jar with everything in it, and a Dockerfile written by the build with the version inside.
fn service_build(name: &str, class: &str, runtime: &str) -> String {
    format!(
        r#"dependencies {{ compile project(':common-dto') }}
jar {{
    manifest {{ attributes 'Main-Class': 'com.shop.{name}.{class}Application' }}
    from {{ configurations.runtimeClasspath.collect {{ zipTree(it) }} }}
    duplicatesStrategy = DuplicatesStrategy.EXCLUDE
}}
task dockerfile {{
    inputs.property('version', version)
    outputs.file('Dockerfile')
    doLast {{
        file('Dockerfile').text = """FROM {runtime}
COPY build/libs/shop-{name}-service-${{version}}.jar /app/app.jar
EXPOSE 8010
ENTRYPOINT ["/opt/java/bin/java", "-jar", "/app/app.jar"]
"""
    }}
}}
build.dependsOn dockerfile
"#
    )
}

/// The configuration that the team would have.
fn configuration() -> String {
    let mut text = format!("[project]\nname = \"shop\"\n\n[build]\ncommand = \"{COMMAND}\"\n");
    for name in ["user", "chat"] {
        text += &format!(
            "\n[services.{name}]\ninputs = [\"shop-{name}-service/**\", \"common-dto/**\", \"*.gradle\"]\n\
             artifact = \"shop-{name}-service/build/libs/*-{{tag}}.jar\"\nimages = [\"main-service_{name}\"]\nport = 8010\n"
        );
    }
    text
}

/// What has to be installed; `None`, with a loud line, where something is not.
fn tools() -> Option<()> {
    match missing_program(&["gradle", "java", "jlink", "skopeo", "docker-registry", "tar"]) {
        Some(program) => skip(&format!("{program} is not installed (scripts/setup gradle registry clients)")),
        None => Some(()),
    }
}

/// Makes a Java runtime and pushes it. Gives its reference.
fn push_runtime(registry: &Registry, folder: &Path) -> String {
    let root = folder.join("root");
    java::write_runtime(&root, "java.base,jdk.httpserver");
    let archive = docker_archive(folder, &root);
    let reference = format!("{}:17", registry.repository("java"));
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("docker-archive:{}", archive.display()))
        .arg(format!("docker://{reference}")));
    reference
}

/// What `docker save` would write for an image of one layer.
fn docker_archive(folder: &Path, root: &Path) -> PathBuf {
    let image = folder.join("image");
    std::fs::create_dir_all(&image).unwrap();
    let tar = |archive: &Path, from: &Path| {
        run(Command::new("tar")
            .args(["--sort=name", "--mtime=@1", "--owner=0", "--group=0", "-cf"])
            .arg(archive)
            .arg("-C")
            .arg(from)
            .arg("."));
    };
    tar(&image.join("layer.tar"), root);
    let layer = Digest::of(&std::fs::read(image.join("layer.tar")).unwrap());
    let architecture = bowline_core::image::Platform::linux(std::env::consts::ARCH).architecture;
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {"Env": ["PATH=/opt/java/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": null, "Layers": ["layer.tar"]}]);
    std::fs::write(image.join("config.json"), config.to_string()).unwrap();
    std::fs::write(image.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = folder.join("image.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&image).args([
        "manifest.json",
        "config.json",
        "layer.tar",
    ]));
    archive
}

/// A repository with the project in it, its services' base in a registry, and room for Bowline's own files.
struct Shop {
    folder: tempfile::TempDir,
    clone: Repository,
    /// The Java runtime's reference.
    runtime: String,
    _origin: Origin,
    _registry: Registry,
}

impl Shop {
    fn new() -> Option<Self> {
        tools()?;
        let registry = start_docker_registry()?;
        let folder = tempfile::tempdir().unwrap();
        let runtime = push_runtime(&registry, &folder.path().join("runtime"));
        let origin = Origin::new();
        let clone = origin.clone_full();
        for (path, content) in project(&runtime) {
            clone.write(&path, &content);
        }
        clone.write("bowline.toml", configuration());
        Some(Self { folder, clone, runtime, _origin: origin, _registry: registry })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.clone.path().join(path)
    }

    /// The file of the topmost layer of an image in Bowline's cache.
    fn last_layer(&self, manifest: &str) -> PathBuf {
        let blob = |digest: &str| {
            let blobs = self.folder.path().join("cache/images/oci/blobs");
            blobs.join(digest.replace(':', "/"))
        };
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(blob(manifest)).unwrap()).unwrap();
        blob(manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap())
    }

    /// Runs Bowline with `--json` and gives the summary.
    fn bowline(&self, arguments: &[&str], host: Option<&Host>) -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("-C").arg(self.clone.path()).arg("--json").args(arguments);
        command.envs(self.clone.environment());
        command.env("BOWLINE_STATE", self.folder.path().join("state"));
        command.env("BOWLINE_CACHE", self.folder.path().join("cache"));
        command.envs(host.map(|host| ("BOWLINE_SSH_CONFIG", host.ssh_config())));
        serde_json::from_str(run(&mut command).lines().last().unwrap()).unwrap()
    }

    fn build(&self, arguments: &[&str]) -> serde_json::Value {
        self.bowline(&[&["build"], arguments].concat(), None)
    }
}

#[test]
fn jars_with_the_version_in_their_names_become_images_without_it() {
    let Some(shop) = Shop::new() else { return };
    let first = shop.build(&["--version-tag", "v5.0.2-b321acf"]);
    assert_eq!(first["ok"], true);
    for name in ["user", "chat"] {
        let folder = format!("shop-{name}-service");
        let jar = shop.path(&format!("{folder}/build/libs/{folder}-v5.0.2-b321acf.jar"));
        let text = std::fs::read_to_string(shop.path(&format!("{folder}/Dockerfile"))).unwrap();
        assert!(text.contains("-v5.0.2-b321acf.jar /app/app.jar"), "{text}");
        let layer = shop.last_layer(first["services"][name]["digest"].as_str().unwrap());
        let inside = Command::new("tar").arg("-xzOf").arg(&layer).arg("app/app.jar").output().unwrap();
        assert_eq!(inside.stdout, std::fs::read(jar).unwrap());
        assert!(!run(Command::new("tar").arg("-tzf").arg(&layer)).contains("5.0.2"));
    }
    // The next version: other file names and Dockerfiles, and the old jars still lie beside the new ones.
    let second = shop.build(&["--version-tag", "v5.0.3-c0ffee1", "--service", "user"]);
    assert!(
        second["services"]["user"]["digest"].is_string() && second["services"]["chat"].is_null(),
        "{second}"
    );
}

const COMPOSE: &str = r#"services:
  user:
    image: main-service_user:latest
    restart: always
    ports: ["8081:8010"]
  chat:
    image: main-service_chat:latest
    restart: always
    ports: ["8082:8010"]
"#;

/// Asks a service on the host, as a browser would.
fn get(host: &Host, port: u16) -> String {
    run(Command::new("curl")
        .args(["-sS", "--max-time", "10"])
        .arg(format!("http://{}:{port}/", host.address())))
}

/// The container of a service and the image that it runs.
fn container(host: &Host, service: &str) -> String {
    let filter = format!("label=com.docker.compose.service={service}");
    let id = host.docker(["ps", "--quiet", "--no-trunc", "--filter", &filter]);
    assert_eq!(id.lines().count(), 1, "{service}: {id}");
    host.docker(["inspect", "--format", "{{.Id}} {{.Image}} {{.State.StartedAt}}", id.trim()])
}

#[test]
fn the_story_is_shipped_to_a_far_host_and_one_change_replaces_one_service() {
    let Some(shop) = Shop::new() else { return };
    let Some(host) = Host::start("gradle") else { return };
    let directory = shop.folder.path().join("far");
    std::fs::create_dir_all(&directory).unwrap();
    let target = format!(
        "\n[targets.box]\ncompose = \"docker-compose-prod.yaml\"\nhost = \"ssh://{}\"\ndirectory = \"{}\"\n\
         project = \"main-service\"\n",
        host.name(),
        directory.display()
    );
    shop.clone.write("docker-compose-prod.yaml", COMPOSE).write("bowline.toml", configuration() + &target);
    shop.clone.commit("[minor] first");
    shop.clone.push();

    let first = shop.bowline(&["ship", "box"], Some(&host));
    assert_eq!(first["ok"], true, "{first}");
    assert_eq!((get(&host, 8081), get(&host, 8082)), ("user says one\n".into(), "chat says one\n".into()));
    let (user, chat) = (container(&host, "user"), container(&host, "chat"));

    shop.clone.merge_pull(7, "[patch] users are greeted anew", |clone| {
        let path = "shop-user-service/src/main/java/com/shop/user/UserApplication.java";
        clone.write(path, application("user", "User", "two"));
    });
    shop.clone.push();
    let second = shop.bowline(&["ship", "box"], Some(&host));
    assert_eq!(second["ok"], true, "{second}");
    assert_ne!(second["tag"], first["tag"]);
    assert_eq!((get(&host, 8081), get(&host, 8082)), ("user says two\n".into(), "chat says one\n".into()));
    assert_ne!(container(&host, "user"), user);
    assert_eq!(container(&host, "chat"), chat);
    assert_eq!(second["services"]["user"]["changed"], true, "{second}");
    assert_eq!(second["services"]["chat"]["changed"], false, "{second}");

    // A service without a Dockerfile: one is made for its jar. Of what is built differently, only it is replaced.
    let user = container(&host, "user");
    let build = std::fs::read_to_string(shop.path("shop-chat-service/build.gradle")).unwrap();
    shop.clone.write("shop-chat-service/build.gradle", build.replace("build.dependsOn dockerfile\n", ""));
    std::fs::remove_file(shop.path("shop-chat-service/Dockerfile")).unwrap();
    let chat = "[services.chat]\n";
    let base = configuration().replace(chat, &format!("{chat}base = \"{}\"\n", shop.runtime));
    shop.clone.write("bowline.toml", base + &target);
    shop.clone.commit("chat without a Dockerfile");
    shop.clone.push();
    let third = shop.bowline(&["ship", "box"], Some(&host));
    assert_eq!(get(&host, 8082), "chat says one\n");
    assert_eq!(
        (&third["services"]["user"]["changed"], &third["services"]["chat"]["changed"]),
        (&false.into(), &true.into())
    );
    assert_eq!(container(&host, "user"), user);
}
