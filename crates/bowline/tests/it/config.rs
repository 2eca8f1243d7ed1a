//! `bowline.toml`: what it may say, and what is said about one that is wrong.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bowline::config::{self, Config, DefaultBump, Probe, Secret, Slack, Stored, Target};
use bowline_core::placeholder::Placeholders;

/// The design's example, whole.
const EXAMPLE: &str = r#"
[project]
name = "chat"

[version]
default-bump = "none"

[build]
command = "./gradlew build --build-cache --parallel -Pversion={tag}"

[registry]
repository = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/chat"
tag = "{service}_{tag}"

[services.user]
inputs = ["shop-user-service/**", "common-dto/**"]
artifact = "shop-user-service/build/libs/*-{tag}.jar"
images = ["main-service_user-server"]
port = 8010
health = { http = "/actuator/health", start = "120s" }

[targets.box]
compose = "docker-compose-prod.yaml"
host = "ssh://ec2-user@203.0.113.10"
directory = "/home/ec2-user/chat/"
project = "chat"

[targets.box.services.chat]
env = { SERVER_TOMCAT_THREADS_MAX = "20", DEBUG = false, POOL = 4 }
memory = "512M"
cpus = 0.5

[targets.box.services.kafka2]
enabled = false

[targets.cluster]
kubernetes = ["k8s/"]
exclude = ["k8s/monitoring/**"]
context = "prod"
namespace = "chat"

[notify]
slack = { url = "env:SLACK_WEBHOOK_URL" }
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/work")).unwrap_or_else(|failure| panic!("{}", complaint(&failure)))
}

/// What a wrong file is told, without colours.
fn complaint(failure: &bowline::error::Failure) -> String {
    let excerpt = failure.excerpt.as_deref().unwrap_or_default();
    format!("{failure}\n{}", anstream::adapter::strip_str(excerpt))
}

fn refused(text: &str) -> String {
    let failure = Config::parse(text, Path::new("/work")).expect_err("this should have been refused");
    assert_eq!(failure.kind.code(), 2);
    complaint(&failure)
}

#[test]
fn the_example_of_the_design_says_what_it_means() {
    let config = parse(EXAMPLE);
    assert_eq!((config.project.as_str(), config.default_bump), ("chat", DefaultBump::None));
    let argv = config.command.unwrap().argv(&Placeholders::new("5.0.2-b321acf"));
    assert_eq!(argv, ["./gradlew", "build", "--build-cache", "--parallel", "-Pversion=v5.0.2-b321acf"]);
    let repository = config.repository.unwrap();
    assert_eq!(repository.registry, "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com");
    let user = &config.services["user"];
    assert_eq!(config.tag.render(&user.name, "5.0.2-b321acf"), "user_v5.0.2-b321acf");
    assert_eq!(user.health.probe, Some(Probe::Http { path: "/actuator/health".into(), port: 8010 }));
    assert_eq!(user.health.start, Some(Duration::from_secs(120)));
    let Target::Compose(host) = &config.targets["box"] else { panic!("not a compose target") };
    assert_eq!(host.files, ["docker-compose-prod.yaml"]);
    assert_eq!(host.directory.as_deref(), Some("/home/ec2-user/chat"));
    assert_eq!((host.pace.restarts, host.pace.keep, host.pace.settle), (8, 3, Duration::from_secs(5)));
    let chat = &host.services["chat"];
    assert_eq!((chat.memory, chat.milli_cpus, chat.enabled), (Some(512 << 20), Some(500), true));
    assert_eq!(chat.env.0["DEBUG"], "false");
    assert!(!format!("{chat:?}").contains("20\""), "values of the environment stay out of Debug");
    assert!(!host.services["kafka2"].enabled);
    let Target::Kubernetes(cluster) = &config.targets["cluster"] else { panic!("not a cluster") };
    assert_eq!(cluster.manifests, ["k8s/"]);
    assert_eq!(config.slack, Some(Slack::Webhook { url: Secret::Env("SLACK_WEBHOOK_URL".into()) }));
}

#[test]
fn little_is_enough() {
    let config = parse("[project]\nname = \"chat\"\n");
    assert_eq!(config.default_bump, DefaultBump::Patch);
    assert!(config.repository.is_none() && config.services.is_empty());
    assert_eq!(config.tag.to_string(), "{service}_{tag}");
}

#[test]
fn images_are_found_by_any_spelling_of_their_name() {
    let config = parse(EXAMPLE);
    for name in ["main-service_user-server", "docker.io/library/main-service_user-server:latest"] {
        assert_eq!(config.service_of(&name.parse().unwrap()).unwrap().name.as_str(), "user");
    }
    assert!(config.service_of(&"main-service_user-server:v2".parse().unwrap()).is_none());
}

#[test]
fn what_is_filled_into_a_command_stays_one_word() {
    let config = parse("[project]\nname = \"x\"\n[build]\ncommand = \"make 'a b' -Dv={version}\"\n");
    let argv = config.command.unwrap().argv(&Placeholders::new("1.0.0; rm -rf /"));
    assert_eq!(argv, ["make", "a b", "-Dv=1.0.0; rm -rf /"]);
    let config =
        parse("[project]\nname = \"x\"\n[build]\nshell = true\ncommand = \"make && echo $BOWLINE_TAG\"\n");
    assert_eq!(
        config.command.unwrap().argv(&Placeholders::new("1.0.0")),
        ["sh", "-c", "make && echo $BOWLINE_TAG"]
    );
}

/// Wrong files, each with all that is said about it. `P` stands for a good project table.
const WRONG: &[(&str, &str)] = &[
    ("a_key_that_does_not_exist", "P\n[services.user]\ninput = [\"a/**\"]\nartefact = \"x\"\n"),
    (
        "unknown_keys_at_every_level",
        "P\n[bild]\n[build]\nshel = true\n[targets.box]\ncompose = \"c.yaml\"\n[targets.box.services.a]\nmem = \"1G\"\n[targets.box.services.b]\nreplica = 2\n[services.u]\nhealth = { htp = \"/\" }\n[zzz]\n",
    ),
    (
        "wrong_types",
        "P\n[services.user]\nport = \"8010\"\nimages = \"user\"\ninputs = [1, \"a/**\"]\n[build]\nshell = \"true\"\ncommand = 3\n[targets]\nbox = 1\n",
    ),
    (
        "numbers_out_of_range",
        "P\n[services.a]\nport = 70000\n[services.b]\nport = -1\n[services.c]\nport = 0\n[targets.t]\ncompose = \"c.yaml\"\nkeep = 0\nrestarts = -1\n",
    ),
    ("a_word_that_is_not_on_the_list", "P\n[version]\ndefault-bump = \"pach\"\n"),
    (
        "durations_and_sizes",
        "P\n[targets.box]\ncompose = \"c.yaml\"\nstart = \"120\"\nsettle = \"1d\"\n[targets.box.services.a]\nmemory = \"512\"\ncpus = 0\n[targets.box.services.b]\nmemory = \"lots\"\nreplicas = 0\n",
    ),
    ("tag_templates", "P\n[registry]\ntag = \"{service}-{tag}\"\n"),
    (
        "a_tag_too_long",
        "P\n[services.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nport = 1\n",
    ),
    (
        "names_that_break_the_tag_grammar",
        "[project]\nname = \"Chat!\"\n[services.\"user server\"]\n[services.-x]\n[targets.\"b x\"]\ncompose = \"c\"\n[targets.release]\ncompose = \"c\"\n",
    ),
    (
        "two_services_claim_one_image",
        "P\n[services.a]\nimages = [\"user\"]\n[services.b]\nimages = [\"docker.io/library/user:latest\", \"b\", \"b:latest\"]\n",
    ),
    (
        "images_that_are_none",
        "P\n[services.a]\nimages = [\"${REGISTRY}/a\", \"Not An Image\", \"a@sha256:0000000000000000000000000000000000000000000000000000000000000000\"]\n",
    ),
    (
        "globs_and_paths",
        "P\n[services.a]\ninputs = [\"a/[\", \"!b\", \"/etc/**\"]\nartifact = \"../x/*.jar\"\ndockerfile = \"/Dockerfile\"\ncontext = \"a/../..\"\n",
    ),
    (
        "placeholders",
        "P\n[build]\ncommand = \"make {service} {verison}\"\n[services.a]\nartifact = \"a-{tga}.{jar,war}\"\n",
    ),
    (
        "commands",
        "P\n[build]\ncommand = \"make 'x\"\n[services.a]\nbuild = \"\"\n[services.b]\nbuild = \"make a && make b\"\n[services.c]\nbuild = []\n",
    ),
    (
        "a_shell_with_placeholders",
        "P\n[build]\nshell = true\ncommand = \"make {tag}\"\n[services.a]\nbuild = [\"make\"]\n",
    ),
    (
        "both_kinds_of_target",
        "P\n[targets.box]\ncompose = \"c.yaml\"\nkubernetes = [\"k8s/\"]\n[targets.none]\nhost = \"ssh://a@b\"\n[targets.k]\nkubernetes = \"k8s\"\nproject = \"x\"\ncontext = \"c\"\nhost = \"ssh://h\"\n",
    ),
    (
        "hosts",
        "P\n[targets.a]\ncompose = \"c\"\nhost = \"ec2-user@203.0.113.10\"\n[targets.b]\ncompose = \"c\"\nhost = \"ssh://u:verysecret@h\"\n[targets.c]\ncompose = \"c\"\nhost = \"ssh://-oProxyCommand=x\"\n[targets.d]\ncompose = \"c\"\nhost = \"ssh://h:99999\"\ndirectory = \"chat\"\n",
    ),
    (
        "a_secret_in_the_file",
        "P\n[notify]\nslack = { url = \"https://hooks.slack.com/services/T0/B0/verysecret\" }\n",
    ),
    (
        "a_secret_beside_another_mistake",
        "P\n[notify]\nslack = { tokn = \"xoxb-verysecret\", channel = \"verysecret\" }\n[targets.t]\ncompose = \"c\"\nservices.a = { env = { DB_PASSWORD = \"verysecret\" }, memry = \"1G\" }\n",
    ),
    (
        "a_secret_in_a_file_that_is_no_toml",
        "P\n[notify]\nslack = { url = \"https://hooks.slack.com/verysecret }\n",
    ),
    ("slack_without_a_place", "P\n[notify]\nslack = { token = \"env:TOKEN\" }\n"),
    (
        "health",
        "P\n[services.a]\nhealth = { http = \"health\" }\nport = 1\n[services.b]\nhealth = { http = \"/health\" }\n[services.c]\nhealth = { tcp = true }\n[services.d]\nport = 1\nhealth = { tcp = true, http = \"/\" }\n",
    ),
    ("repositories", "P\n[registry]\nrepository = \"https://ghcr.io/a/b\"\n"),
    ("a_repository_with_a_tag", "P\n[registry]\nrepository = \"ghcr.io/a/b:latest\"\n"),
    ("no_project", "[services.a]\nport = 1\n"),
    ("no_toml", "P\n[services.a\nport = 1\nname = \n"),
    ("the_same_key_twice", "P\n[services.a]\nport = 1\nport = 2\n"),
    (
        "escapes_of_strangers",
        "P\n[services.\"\\u001b[31mred\"]\nport = 1\n[services.b]\nimages = [\"x\\u001b[31m\"]\n",
    ),
];

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    for (name, text) in WRONG {
        let text = text.replacen('P', "[project]\nname = \"chat\"", usize::from(text.starts_with('P')));
        let told = refused(&text);
        assert!(!told.contains("verysecret"), "{told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
        insta::with_settings!({ description => text, omit_expression => true }, {
            insta::assert_snapshot!(*name, told);
        });
    }
}

/// What another version of Bowline let pass, in the file of a release that is to be deployed to `box`.
#[test]
fn what_a_deploy_does_without_is_not_in_its_way() {
    let good = "[services.a]\nimages = [\"a\"]\nport = 80\nhealth = { tcp = true }\n\
                [targets.box]\ncompose = \"c.yaml\"\nkeep = 7\n";
    for (more, unknown) in [
        ("", vec![]),
        (
            "[services.b]\nimages = [\"b\"]\ninputs = [\"a/[\"]\nbuild = 3\nartifact = \"../x\"\nplatform = \"x\"\n",
            vec![],
        ),
        (
            "[build]\ncommand = \"make 'x\"\nbase = \"Not An Image\"\nmode = 1\n[registry]\ntag = \"{service}\"\n",
            vec![],
        ),
        ("[version]\ndefault-bump = \"huge\"\n[notify]\nslack = 1\n[project]\nname = \"Chat!\"\n", vec![]),
        ("[targets.release]\nkubernetes = 3\nstart = \"1 day\"\n[targets.other]\nmore = 1\n", vec![]),
        (&format!("[services.{}]\n", "a".repeat(90)), vec![]),
        ("[zzz]\nx = 1\n", vec!["`zzz` is not a key of bowline.toml"]),
        ("[targets.box.services.a]\nmem = \"1G\"\n", vec!["`mem` is not a key of [targets.box.services.a]"]),
        ("[services.c]\nweight = 1\n", vec!["`weight` is not a key of [services.c]"]),
    ] {
        let stored =
            Stored::parse(&format!("{good}{more}"), "box").unwrap_or_else(|f| panic!("{}", complaint(&f)));
        assert_eq!(stored.unknown, unknown, "{more}");
        let Some(Target::Compose(target)) = &stored.target else { panic!("{stored:?}") };
        assert_eq!((target.pace.keep, target.files.len()), (7, 1));
        assert_eq!(stored.services["a"].health.probe, Some(Probe::Tcp { port: 80 }));
        assert!(Stored::parse(&format!("{good}{more}"), "new").unwrap().target.is_none());
    }
}

#[test]
fn what_a_deploy_needs_is_understood_or_told() {
    for (text, told) in [
        ("[targets.box]\ncompose = 1\n", "`targets.box.compose` is"),
        ("[targets.box]\nfiles = \"c.yaml\"\n", "nothing says what runs on `box`"),
        ("[targets.box]\ncompose = \"c\"\nstart = \"1 day\"\n", "start = \"1 day\""),
        (
            "[targets.box]\ncompose = \"c\"\n[targets.box.services.a]\nreplicas = 0\n",
            "at least one container",
        ),
        ("[services.a]\nhealth = { http = \"x\" }\n", "`http` is a path"),
        ("[services.a]\nport = \"80\"\n", "`services.a.port`"),
        ("[services.a]\nimages = [\"x\"]\n[services.b]\nimages = [\"x\"]\n", "two services claim"),
        ("[services\n", "here"),
    ] {
        let failure = Stored::parse(text, "box").unwrap_err();
        let complaint = complaint(&failure);
        assert!(complaint.contains(told) && complaint.contains("the release's bowline.toml"), "{complaint}");
        assert!(failure.hint.unwrap().contains("version of bowline"));
    }
}

#[test]
fn the_schema_that_is_checked_in_is_the_one_of_the_types() {
    let schema = serde_json::to_string_pretty(&config::schema::schema()).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/bowline.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == schema, "the schema changed: run this test with UPDATE_SCHEMA=1 and check the file in");
    let output = Command::new(env!("CARGO_BIN_EXE_bowline")).arg("schema").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), schema);
}

#[test]
fn a_directory_without_a_configuration_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let failure = Config::load(empty.path()).unwrap_err();
    assert_eq!(failure.kind.code(), 2);
    assert!(failure.hint.unwrap().contains("bowline init"));
    std::fs::write(empty.path().join("bowline.toml"), b"\xff").unwrap();
    assert!(Config::load(empty.path()).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn unknown_targets_and_services_are_suggested() {
    let config = parse(EXAMPLE);
    assert!(config.target("bx").unwrap_err().hint.unwrap().contains("did you mean `box`?"));
    assert!(config.service("order").unwrap_err().hint.unwrap().contains("it has user"));
}

#[test]
fn secrets_are_read_where_they_are_named() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("token"), "abc\n").unwrap();
    assert_eq!(Secret::parse("file:token").unwrap().read(place.path()).unwrap(), "abc");
    assert!(Secret::parse("env:BOWLINE_NOT_SET").unwrap().read(place.path()).is_err());
    for literal in ["abc", "env:", "env:1A", "env:A-B", "file:"] {
        assert_eq!(Secret::parse(literal), None, "{literal}");
    }
}
