//! `bowline init`: what is made of repositories of many kinds.

use std::path::Path;
use std::process::{Command, Output};

use bowline::config::Config;
use bowline::init::proposal::{Health, Proposal, Sure};
use bowline::init::tree::Tree;
use bowline::init::{detect, text};
use bowline_testkit::fixture;

/// A Gradle build as in the story: services under other names in the compose file, a shared module, the Spring Boot
/// plugin applied from the root, stacks of others.
const GRADLE: &[(&str, &str)] = &[
    ("gradlew", ""),
    (
        "settings.gradle",
        "rootProject.name = 'Chat'\n// include 'old'\ninclude 'common-dto', 'shop-user-service'\ninclude(':shop-chat-service')\n",
    ),
    (
        "build.gradle",
        "plugins { id 'org.springframework.boot' version '3.4.0' apply false }\nsubprojects {\n  apply plugin: 'java'\n}\n",
    ),
    ("gradle/wrapper/gradle-wrapper.properties", ""),
    ("common-dto/build.gradle", "plugins { id 'java-library' }\n"),
    (
        "shop-user-service/build.gradle",
        "plugins {\n  id 'java'\n  id 'org.springframework.boot'\n}\ndependencies {\n  implementation project(':common-dto')\n  implementation 'org.springframework.boot:spring-boot-starter-web'\n  implementation 'org.springframework.boot:spring-boot-starter-actuator'\n}\n",
    ),
    (
        "shop-user-service/src/main/resources/application.yml",
        "server:\n  port: ${PORT:8010}\n  servlet:\n    context-path: /user\n---\nspring.config.activate.on-profile: prod\n",
    ),
    ("shop-user-service/src/main/java/shop/UserApplication.java", ""),
    (
        "shop-chat-service/build.gradle.kts",
        "plugins {\n  id(\"org.springframework.boot\")\n}\nbase { archivesName.set(\"chat\") }\ndependencies {\n  implementation(projects.commonDto)\n}\n",
    ),
    (
        "shop-chat-service/Dockerfile",
        "FROM eclipse-temurin:21-jre\nEXPOSE 8020\nCOPY build/libs/*.jar app.jar\n",
    ),
    (
        "docker-compose-prod.yaml",
        "services:\n  user-server:\n    image: main-service_user-server\n    ports: ['8010:8010']\n    depends_on: [db]\n  chat-server:\n    image: ${REGISTRY:-main}/chat-server:${TAG:-latest}\n    build: ./shop-chat-service\n  db:\n    image: mysql:8\n  kafka:\n    image: bitnami/kafka:3\n",
    ),
    ("docker-compose.dev.yml", "services:\n  db:\n    image: mysql:8\n"),
];

const MAVEN: &[(&str, &str)] = &[
    (
        "pom.xml",
        "<project xmlns='http://maven.apache.org/POM/4.0.0'><groupId>x</groupId><artifactId>shop</artifactId><version>${revision}</version><packaging>pom</packaging><modules><module>common</module><module>orders</module><module>billing</module></modules></project>",
    ),
    (
        "common/pom.xml",
        "<project><parent><artifactId>shop</artifactId><version>${revision}</version></parent><artifactId>shop-common</artifactId></project>",
    ),
    (
        "orders/pom.xml",
        "<project><parent><artifactId>shop</artifactId><version>${revision}</version></parent><artifactId>shop-orders</artifactId><dependencies><dependency><groupId>x</groupId><artifactId>shop-common</artifactId></dependency><dependency><artifactId>spring-boot-starter-web</artifactId></dependency><dependency><artifactId>spring-boot-starter-actuator</artifactId></dependency></dependencies><build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build></project>",
    ),
    (
        "billing/pom.xml",
        "<project><parent><artifactId>shop</artifactId><version>${revision}</version></parent><artifactId>shop-billing</artifactId><build><finalName>billing</finalName><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build></project>",
    ),
    ("billing/src/main/resources/application.properties", "server.port=9001\n"),
    (
        "compose.yaml",
        "name: shop\nservices:\n  orders:\n    image: acme/orders\n  invoices:\n    image: acme/shop-billing\n    healthcheck: { test: [CMD, 'true'] }\n  cache:\n    image: redis\n",
    ),
];

const CARGO: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nmembers = ['crates/*']\n[workspace.dependencies]\nproto = { path = 'crates/proto' }\n",
    ),
    ("Cargo.lock", ""),
    ("crates/proto/Cargo.toml", "[package]\nname = 'proto'\n"),
    ("crates/proto/src/lib.rs", ""),
    ("crates/gateway/Cargo.toml", "[package]\nname = 'gateway'\n[dependencies]\nproto.workspace = true\n"),
    ("crates/gateway/src/main.rs", ""),
    (
        "crates/rooms/Cargo.toml",
        "[package]\nname = 'chat-rooms'\n[[bin]]\nname = 'rooms'\n[dependencies]\nproto = { path = '../proto' }\n",
    ),
    ("crates/rooms/src/main.rs", ""),
    ("crates/rooms/Dockerfile", "FROM scratch\nCOPY rooms /rooms\n"),
    ("crates/admin/Cargo.toml", "[package]\nname = 'admin-cli'\n"),
    ("crates/admin/src/main.rs", ""),
    (
        "compose.yaml",
        "services:\n  gateway:\n    image: chat/gateway\n    ports: ['8080:8080']\n  rooms:\n    build: crates/rooms\n    image: chat/rooms\n  nats:\n    image: nats:2\n",
    ),
];

const NPM: &[(&str, &str)] = &[
    (
        "package.json",
        "{\"name\":\"shop\",\"private\":true,\"workspaces\":[\"packages/*\"],\"scripts\":{\"build\":\"tsc -b\"}}",
    ),
    ("package-lock.json", ""),
    ("packages/shared/package.json", "{\"name\":\"@shop/shared\"}"),
    (
        "packages/api/package.json",
        "{\"name\":\"@shop/api\",\"scripts\":{\"start\":\"node .\",\"build\":\"tsc\"},\"dependencies\":{\"@shop/shared\":\"*\",\"express\":\"5\"}}",
    ),
    ("packages/web/package.json", "{\"name\":\"@shop/web\",\"scripts\":{\"start\":\"node server.js\"}}"),
    (
        "packages/web/Dockerfile",
        "FROM node:22 AS build\nRUN npm ci\nFROM node:22-slim\nEXPOSE 3000/tcp\nCOPY --from=build /app /app\n",
    ),
];

/// Nothing but Dockerfiles, one of them named by what it copies, one at the root.
const DOCKERFILES: &[(&str, &str)] = &[
    ("vote/Dockerfile", "FROM python:3\nEXPOSE 80\nCOPY . .\n"),
    ("worker/Dockerfile", "FROM x\n"),
    ("worker/Dockerfile.dev", "FROM x\n"),
    ("docker/front.Dockerfile", "FROM nginx\nCOPY --chown=1 static/ ./conf/nginx.conf /srv/\n"),
    (
        "docker-compose.yml",
        "services:\n  vote:\n    build: ./vote\n    ports: [5000:80]\n  worker:\n    build: { context: ./worker }\n  front:\n    build:\n      context: .\n      dockerfile: docker/front.Dockerfile\n  redis:\n    image: redis\n",
    ),
];

/// Two builds of two tools beside each other, a base compose file and one that adds to it, odd names.
const MIXED: &[(&str, &str)] = &[
    ("backend/settings.gradle.kts", "include(\":app\")\n"),
    ("backend/app/build.gradle.kts", "plugins {\n  application\n}\nversion = \"1.2.3\"\n"),
    ("front end/package.json", "{\"name\":\"front\",\"scripts\":{\"start\":\"x\",\"build\":\"y\"}}"),
    ("tools/build.gradle", "plugins { id 'application' }\n"),
    (
        "compose.yaml",
        "services:\n  app:\n    image: x/app\n  front:\n    build: 'front end'\n  \"odd]\\nname\":\n    image: odd/one\n",
    ),
    ("compose.prod.yaml", "services:\n  app:\n    restart: always\n    ports: ['80:8080']\n"),
    ("broken.compose.yaml", "services: [\n"),
];

fn proposed(name: &str, files: &[(&str, &str)]) -> Proposal {
    let proposal = detect(&Tree::of(name, files.iter().copied())).expect("nothing was found");
    loads(&text::render(&proposal));
    proposal
}

/// Every file that is written can be read.
fn loads(text: &str) -> Config {
    Config::parse(text, Path::new("/")).unwrap_or_else(|failure| {
        panic!("{failure}\n{}\n{text}", failure.excerpt.as_deref().unwrap_or_default())
    })
}

fn service<'p>(proposal: &'p Proposal, name: &str) -> &'p bowline::init::proposal::Service {
    proposal.services.iter().find(|service| service.name == name).unwrap_or_else(|| {
        panic!(
            "no service {name} in {:?}",
            proposal.services.iter().map(|service| &service.name).collect::<Vec<_>>()
        )
    })
}

fn names(proposal: &Proposal) -> Vec<&str> {
    proposal.services.iter().map(|service| service.name.as_str()).collect()
}

#[test]
fn what_is_written_for_each_kind_of_repository() {
    for (name, files) in [
        ("gradle", GRADLE),
        ("maven", MAVEN),
        ("cargo", CARGO),
        ("npm", NPM),
        ("dockerfiles", DOCKERFILES),
        ("mixed", MIXED),
    ] {
        let proposal = proposed("repository", files);
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(format!("written_for_{name}"), text::render(&proposal));
        });
    }
}

#[test]
fn cargo_is_held_to_its_lock_file_where_there_is_one() {
    let without: Vec<_> = CARGO.iter().copied().filter(|(path, _)| *path != "Cargo.lock").collect();
    assert_eq!(proposed("chat", &without).command.as_deref(), Some("cargo build --release"));
    assert_eq!(proposed("chat", CARGO).command.as_deref(), Some("cargo build --release --locked"));
}

#[test]
fn a_gradle_module_is_the_compose_service_of_another_name() {
    let proposal = proposed("chat", GRADLE);
    assert_eq!(names(&proposal), ["chat-server", "user-server"]);
    let user = service(&proposal, "user-server");
    assert_eq!(user.module.as_deref(), Some("shop-user-service"));
    assert_eq!(user.images, ["main-service_user-server"]);
    assert_eq!(user.health, Some(Health::Http("/user/actuator/health".into())));
    assert_eq!(user.artifact.as_deref(), Some("shop-user-service/build/libs/shop-user-service-{tag}.jar"));
    assert!(user.inputs.contains(&"common-dto/**".into()) && user.inputs.contains(&"gradle/**".into()));
    assert_eq!(proposal.command.as_deref(), Some("./gradlew build --build-cache --parallel -Pversion={tag}"));
    let chat = service(&proposal, "chat-server");
    assert_eq!((chat.sure, chat.port), (Sure::Certain, Some(8020)));
    assert_eq!(chat.images, ["main/chat-server:latest"]);
    for left in ["common-dto", "db (mysql:8)", "kafka", "docker-compose.dev.yml"] {
        assert!(
            proposal.left_out.iter().any(|out| out.what.starts_with(left)),
            "{left}: {:?}",
            proposal.left_out
        );
    }
}

#[test]
fn a_boot_plugin_applied_from_the_root_makes_no_service_of_a_library() {
    let files = [
        ("settings.gradle", "include 'core', 'a'\n"),
        ("build.gradle", "subprojects { apply plugin: 'org.springframework.boot' }\n"),
        ("core/build.gradle", "bootJar { enabled = false }\n"),
        ("a/build.gradle", "dependencies { implementation project(':core') }\n"),
        ("a/src/main/java/AApplication.java", ""),
    ];
    assert_eq!(names(&proposed("x", &files)), ["a"]);
}

#[test]
fn builds_inside_other_builds_are_seen_once() {
    let pom = |name: &str, more: &str| {
        format!(
            "<project><artifactId>{name}</artifactId><version>1</version>{more}<build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build></project>"
        )
    };
    let (root, a, b) = (
        pom("root", "<packaging>pom</packaging><modules><module>a</module></modules>"),
        pom("a", ""),
        pom("b", ""),
    );
    let files = [("a/pom.xml", a.as_str()), ("b/pom.xml", b.as_str()), ("pom.xml", root.as_str())];
    let proposal = proposed("x", &files);
    assert_eq!(names(&proposal), ["a", "b"]);
    assert_eq!(
        service(&proposal, "b").build.as_deref().or(proposal.command.as_deref()),
        Some("mvn -B -f b/pom.xml package")
    );
    let files = [
        ("x/settings.gradle", "include 'a'"),
        ("x/a/build.gradle", "apply plugin: 'application'"),
        ("y/build.gradle", "apply plugin: 'application'"),
    ];
    assert_eq!(names(&proposed("x", &files)), ["a", "y"]);
}

#[test]
fn compose_files_with_anchors_merges_and_odd_keys_are_read() {
    let compose = "x-common: &common\n  image: acme/one\n  expose: [9000]\n  sysctls: { 1: 2 }\nservices:\n  one:\n    <<: *common\n    deploy: { replicas: 2 }\n  two:\n    <<: *common\n    image: acme/two:${V:?needed}\n";
    let proposal = proposed("x", &[("docker-compose.yml", compose)]);
    assert_eq!(names(&proposal), ["one", "two"]);
    assert_eq!((service(&proposal, "one").port, service(&proposal, "one").images.len()), (Some(9000), 1));
    assert!(service(&proposal, "two").images.is_empty());
    assert!(service(&proposal, "two").unsure.iter().any(|text| text.contains("variable")), "it says why");
    let broken = proposed("x", &[("compose.yaml", "services: ["), ("a/Dockerfile", "FROM scratch")]);
    assert!(
        broken.unsure.iter().any(|text| text.starts_with("compose.yaml could not be read")),
        "{:?}",
        broken.unsure
    );
}

#[test]
fn hostile_names_stay_words_and_comments() {
    let files = [
        ("a; rm -rf x/build.gradle", "apply plugin: 'application'\nversion = '1\"\\n[evil]'"),
        ("b$(x)/package.json", "{\"name\":\"x; y\\n[evil]\",\"scripts\":{\"start\":\"x\",\"build\":\"x\"}}"),
    ];
    let proposal = proposed("na\nme\u{1b}[31m", &files);
    let config = loads(&text::render(&proposal));
    let words = bowline_core::placeholder::Placeholders::new("1.0.0");
    let commands: Vec<Vec<String>> = config
        .services
        .values()
        .filter_map(|service| service.command.as_ref())
        .chain(config.command.as_ref())
        .map(|command| command.argv(&words))
        .collect();
    assert!(commands.iter().any(|argv| argv.contains(&"a; rm -rf x".into())), "{commands:?}");
    assert!(!text::render(&proposal).contains("\n[evil]"));
}

#[test]
fn a_repository_with_nothing_in_it_exits_2_and_says_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("README.md"), "hello").unwrap();
    let output = bowline(empty.path(), &["init"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("nothing in") && told.contains("compose files"), "{told}");
    assert!(!empty.path().join("bowline.toml").exists());
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_asked() {
    let place = repository(CARGO);
    std::fs::write(place.path().join("bowline.toml"), "mine").unwrap();
    let output = bowline(place.path(), &["init"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(place.path().join("bowline.toml")).unwrap(), "mine");
    let output = bowline(place.path(), &["init", "--force"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Config::load(place.path()).is_ok());
}

#[test]
fn the_guesses_are_told_to_people_and_to_programs() {
    let place = repository(GRADLE);
    let output = bowline(place.path(), &["init"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty(), "stdout is for data");
    for part in
        ["service user-server from shop-user-service (Gradle), likely", "left out db (mysql:8)", "  ? "]
    {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let output = bowline(place.path(), &["--json", "init", "--force"]);
    let data: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(data.pointer("/proposal/services/1/name").unwrap(), "user-server");
    assert_eq!(data.pointer("/proposal/targets/0/kind").unwrap(), "compose");
}

#[test]
fn foreign_repositories_are_read() {
    let Some(voting) = fixture::foreign("voting-app") else { return };
    let proposal = detect(&Tree::read(&voting).unwrap()).unwrap();
    assert_eq!(names(&proposal), ["result", "vote", "worker"]);
    assert_eq!(service(&proposal, "vote").images, ["dockersamples/examplevotingapp_vote"]);
    assert_eq!(service(&proposal, "vote").port, Some(80));
    let config = loads(&text::render(&proposal));
    assert!(config.targets.contains_key("box") && config.targets.contains_key("cluster"));
    assert!(proposal.left_out.iter().any(|out| out.what == "docker-stack.yml"), "{:?}", proposal.left_out);

    let Some(shop) = fixture::foreign("microservices-demo") else { return };
    let proposal = detect(&Tree::read(&shop).unwrap()).unwrap();
    assert_eq!(proposal.services.len(), 11, "{:?}", names(&proposal));
    assert!(names(&proposal).contains(&"checkoutservice"));
    assert!(proposal.left_out.iter().any(|out| out.what.contains("redis")), "{:?}", proposal.left_out);
    loads(&text::render(&proposal));
}

#[test]
fn what_was_built_or_downloaded_is_not_looked_at() {
    let place = repository(&[
        ("compose.yaml", "services: { a: { build: a } }\n"),
        ("a/Dockerfile", "FROM scratch\n"),
        ("node_modules/x/package.json", "{\"name\":\"x\",\"scripts\":{\"start\":\"x\"}}"),
        ("target/Dockerfile", "FROM scratch\n"),
        ("tests/fixtures/Dockerfile", "FROM scratch\n"),
        ("src/dockerfile.rs", "//! Reads Dockerfiles.\n"),
    ]);
    let proposal = detect(&Tree::read(place.path()).unwrap()).unwrap();
    assert_eq!(names(&proposal), ["a"]);
    assert!(proposal.left_out.is_empty(), "{:?}", proposal.left_out);
}

fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    place
}

fn bowline(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bowline")).arg("-C").arg(directory).args(args).output().unwrap()
}
