//! `bowline init --github` and `action.yml`: what is written, and its steps run as the runner would run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bowline::config::Config;
use bowline::init::tree::Tree;
use bowline::init::workflow::{Java, Reach, Registry, Workflow};
use bowline_testkit::repository::{Origin, Repository};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// YAML as the runner reads it.
fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const BOX: &str = "[project]\nname = \"chat\"\n\n[build]\ncommand = \"./gradlew build --build-cache --parallel -Pversion={tag}\"\n\n\
    [registry]\nrepository = \"123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/chat\"\n\n\
    [targets.box]\ncompose = \"compose.yaml\"\nhost = \"ssh://ec2-user@203.0.113.10:2222\"\n\n\
    [notify]\nslack = { token = \"env:SLACK_BOT_TOKEN\", channel = \"#ship\" }\n";

fn workflow(toml: &str, files: &[(&str, &str)], branch: &str, directory: &str) -> Workflow {
    let config = Config::parse(toml, Path::new("/nowhere")).unwrap_or_else(|failure| panic!("{failure:?}"));
    let target = config.targets.values().next().unwrap();
    Workflow::of(&config, &Tree::of("chat", files.iter().copied()), target, branch, directory)
}

#[test]
fn the_storys_team_gets_gradle_ecr_ssh_and_slack() {
    let gradle = "java { toolchain { languageVersion = JavaLanguageVersion.of(17) } } // of(25)\n";
    let workflow = workflow(BOX, &[("build.gradle", gradle)], "main", "");
    assert_eq!(workflow.reach, Reach::Ssh { host: "203.0.113.10".into(), port: Some("2222".into()) });
    assert_eq!(workflow.registry, Registry::Ecr("ap-northeast-2".into()));
    assert_eq!(workflow.java, Some(Java { version: 17, told: true, cache: "gradle" }));
    insta::assert_snapshot!(workflow.render());
    insta::assert_snapshot!(workflow.remarks().join("\n"));

    let file = yaml(&workflow.render());
    assert_eq!(
        file["permissions"],
        json!({ "contents": "write", "pull-requests": "read", "id-token": "write" })
    );
    assert_eq!(
        file["concurrency"],
        json!({ "group": "ship-box", "cancel-in-progress": false, "queue": "max" })
    );
    assert_eq!(file["on"]["push"]["branches"], json!(["main"]));
}

#[test]
fn nothing_is_asked_for_that_is_not_needed() {
    let toml = "[project]\nname = \"chat\"\n[targets.box]\ncompose = \"compose.yaml\"\n";
    let workflow = workflow(toml, &[("build.gradle", "")], "main", "");
    let (text, file) = (workflow.render(), yaml(&workflow.render()));
    assert_eq!(file["permissions"], json!({ "contents": "write", "pull-requests": "read" }));
    assert_eq!(file["jobs"]["ship"]["runs-on"], "self-hosted");
    for word in ["secrets.", "vars.", "setup-java", "aws", "ssh", "env:"] {
        assert!(!text.contains(word), "{word} in\n{text}");
    }
    assert!(workflow.remarks()[1].contains("lost with it"), "{:?}", workflow.remarks());
}

#[test]
fn each_registry_is_opened_in_its_own_way() {
    let toml = |repository: &str| {
        format!(
            "[project]\nname = \"chat\"\n[registry]\nrepository = \"{repository}\"\n[targets.box]\ncompose = \"c.yaml\"\n"
        )
    };
    let file = |repository: &str| yaml(&workflow(&toml(repository), &[], "main", "").render());
    let step =
        |file: &Value| file["jobs"]["ship"]["steps"].as_array().unwrap().last().unwrap()["with"].clone();

    let github = file("ghcr.io/team/chat");
    assert_eq!(github["permissions"]["packages"], "write");
    assert_eq!(step(&github)["registry-password"], "${{ github.token }}");
    let other = file("registry.example.com:5000/chat");
    assert_eq!(step(&other)["registry"], "registry.example.com:5000");
    assert_eq!(step(&other)["registry-password"], "${{ secrets.REGISTRY_PASSWORD }}");
    let hub = file("docker.io/team/chat");
    assert_eq!(step(&hub)["registry"], "docker.io");
    let china = file("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/chat");
    assert_eq!(step(&china)["aws-region"], "cn-north-1");
    assert_eq!(step(&file("127.0.0.1:5000/chat")), json!({ "target": "box" }));
}

#[test]
fn hosts_and_jdks_are_read_in_all_their_forms() {
    for (host, expected) in [
        ("ssh://203.0.113.10", ("203.0.113.10", None)),
        ("ssh://box", ("box", None)),
        ("ssh://ubuntu@box.example.com:22", ("box.example.com", None)),
        ("ssh://ubuntu@[2001:db8::1]:2022", ("2001:db8::1", Some("2022"))),
        ("ssh://[2001:db8::1]", ("2001:db8::1", None)),
    ] {
        let toml =
            format!("[project]\nname = \"x\"\n[targets.box]\ncompose = \"c.yaml\"\nhost = \"{host}\"\n");
        let reach = workflow(&toml, &[], "main", "").reach;
        let (name, port) = expected;
        assert_eq!(reach, Reach::Ssh { host: name.into(), port: port.map(str::to_owned) }, "{host}");
    }
    for (path, text, version, told) in [
        ("build.gradle", "sourceCompatibility = '11'", 11, true),
        ("build.gradle", "sourceCompatibility = JavaVersion.VERSION_21", 21, true),
        ("user/build.gradle", "sourceCompatibility = 1.8", 8, true),
        ("build.gradle.kts", "kotlin { jvmToolchain(25) }", 25, true),
        ("build.gradle", "// sourceCompatibility = '11'", 21, false),
        ("build.gradle", "sourceCompatibility = javaVersion", 21, false),
        ("notes.yaml", "java.version: 17", 21, false),
    ] {
        let java = workflow(BOX, &[(path, text)], "main", "").java;
        assert_eq!(java, Some(Java { version, told, cache: "gradle" }), "{text}");
    }
    let maven = BOX.replace("./gradlew build --build-cache --parallel -Pversion={tag}", "mvn package");
    let java = workflow(&maven, &[("pom.xml", "<java.version>17</java.version>")], "main", "").java;
    assert_eq!(java, Some(Java { version: 17, told: true, cache: "maven" }));
}

#[test]
fn names_stay_names() {
    let branch = "it's+\"a\" #branch";
    let file = yaml(&workflow(BOX, &[], branch, "services/it's \"chat\"/").render());
    assert_eq!(file["on"]["push"]["branches"], json!(["it's\\+\"a\" #branch"]));
    let condition = file["jobs"]["ship"]["if"].as_str().unwrap();
    assert_eq!(condition, "github.ref == 'refs/heads/it''s+\"a\" #branch'");
    let steps = file["jobs"]["ship"]["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["with"]["directory"], "services/it's \"chat\"");
    // An expression in a directory's name is shown, not evaluated.
    let text = workflow(BOX, &[], "main", "${{ secrets.X }}").render();
    assert!(text.contains("directory: \"${{ '${{' }} secrets.X }}\""), "{text}");
}

#[test]
fn no_script_of_the_action_has_an_expression_in_it() {
    let action = std::fs::read_to_string(root().join("action.yml")).unwrap();
    let file = yaml(&action);
    for step in file["runs"]["steps"].as_array().unwrap() {
        let run = step["run"].as_str().unwrap_or("");
        assert!(!run.contains("${{"), "{run}");
        assert!(step["run"].is_null() || step["shell"] == "bash", "a composite step needs a shell: {step}");
    }
    let script = std::fs::read_to_string(root().join("scripts/action")).unwrap();
    assert!(!script.contains("${{"));
    // What the workflow gives is what the action takes.
    let inputs = file["inputs"].as_object().unwrap();
    for toml in
        [BOX.to_owned(), BOX.replace("123456789012.dkr.ecr.ap-northeast-2.amazonaws.com", "r.example.com")]
    {
        let written = yaml(&workflow(&toml, &[], "main", "x").render());
        let steps = written["jobs"]["ship"]["steps"].as_array().unwrap();
        for name in steps.last().unwrap()["with"].as_object().unwrap().keys() {
            assert!(inputs.contains_key(name), "{name}");
        }
    }
}

fn bowline(repository: &Repository, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.current_dir(repository.path()).args(arguments).envs(repository.environment());
    for name in ["GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn init_github_writes_once_and_replaces_only_when_told() {
    let origin = Origin::new();
    let seed = origin.clone_full();
    seed.git(["checkout", "--quiet", "-B", "trunk"]);
    seed.write("bowline.toml", BOX).commit("start");
    seed.push();
    origin.git(["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    let clone = origin.clone_full();
    clone.git(["checkout", "--quiet", "-b", "feature"]);

    let output = bowline(&clone, &["init", "--github"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = clone.path().join(".github/workflows/ship.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    // The remote's default branch, not the one that happens to be checked out.
    assert_eq!(yaml(&text)["on"]["push"]["branches"], json!(["trunk"]));
    assert_eq!(std::fs::read_to_string(clone.path().join("bowline.toml")).unwrap(), BOX);
    assert!(stderr(&output).contains("ssh-keyscan -p 2222 203.0.113.10"), "{}", stderr(&output));

    std::fs::write(&path, "mine").unwrap();
    let output = bowline(&clone, &["init", "--github"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is there already"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");

    let output = bowline(&clone, &["--json", "init", "--github", "--force", "--target", "box"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["ok"], &told["target"]), (&json!(true), &json!("box")));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(std::fs::read_to_string(clone.path().join("bowline.toml")).unwrap(), BOX);

    let output = bowline(&clone, &["init", "--github", "--force", "--target", "bx"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`box`"), "{}", stderr(&output));
}

#[test]
fn init_github_in_a_fresh_repository_writes_both_files() {
    let clone = Origin::new().clone_full();
    clone
        .write("compose.yaml", "services:\n  web:\n    build: .\n")
        .write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let output = bowline(&clone, &["init", "--github"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(clone.path().join("bowline.toml").exists());
    assert!(clone.path().join(".github/workflows/ship.yml").exists());
}

#[test]
fn in_actions_the_runner_takes_no_commands_from_what_is_printed() {
    let run = |actions: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.args(["-C", "/nowhere/::set-output name=x::y", "build"]).env("GITHUB_ACTIONS", actions);
        command.env_remove("GITHUB_OUTPUT").env_remove("GITHUB_STEP_SUMMARY");
        stderr(&command.output().unwrap())
    };
    let text = run("true");
    let (first, last) = (text.lines().next().unwrap(), text.lines().last().unwrap());
    let token = first.strip_prefix("::stop-commands::").unwrap();
    assert!(token.len() > 32, "{token}");
    assert_eq!(last, format!("::{token}::"));
    assert!(!run("").contains("::stop-commands::"));
}
