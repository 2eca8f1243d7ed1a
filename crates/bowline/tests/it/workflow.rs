//! `bowline init --github` and `action.yml`: what is written, and its steps run as the runner would run them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bowline::config::Config;
use bowline::init::tree::Tree;
use bowline::init::workflow::{Java, Reach, Registry, Workflow};
use bowline_testkit::repository::{Origin, Repository};
use serde_json::{Value, json};

use crate::runner::Runner;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// YAML as the runner reads it.
pub(crate) fn yaml(text: &str) -> Value {
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

/// A machine with a pushed commit of `repository` on it.
pub(crate) fn runner(scratch: &Path, origin: &Origin, commit: &str, cached: &Path) -> Runner {
    let folder = |name: &str| {
        std::fs::create_dir_all(scratch.join(name)).unwrap();
        scratch.join(name)
    };
    let event = scratch.join("event.json");
    let told = json!({
        "ref": "refs/heads/main", "after": commit, "repository": { "full_name": "team/chat" },
        // As GitHub calls the commit of a squashed request that had one: not by the request's title.
        "commits": [{ "id": commit, "message": "what the commit was called (#1)", "author": { "name": "ada" } }],
    });
    std::fs::write(&event, told.to_string()).unwrap();
    Runner {
        action: root(),
        workspace: folder("workspace"),
        temp: folder("temp"),
        home: folder("home"),
        remote: origin.url(),
        commit: commit.to_owned(),
        cached: cached.to_owned(),
        contexts: json!({
            "github": {
                "sha": commit, "ref": "refs/heads/main", "ref_name": "main", "repository": "team/chat",
                "server_url": "https://github.com", "api_url": "http://127.0.0.1:1", "run_id": "42",
                "actor": "ada", "token": "ghs_notatoken", "event_name": "push", "event_path": event,
            },
            "runner": { "temp": scratch.join("temp") },
            "secrets": {}, "vars": {},
        }),
        environment: vec![
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            ("GIT_CONFIG_GLOBAL".into(), "/dev/null".into()),
        ],
    }
}

/// Stands for bowline: says what it was given and what it can reach, then exits as it is told.
const PROBE: &str = r#"#!/bin/bash
set -u
echo "::stop-commands::probe"
printf 'argument: %s\n' "$@"
env | grep -E '^(BOWLINE_|DOCKER_|AWS_|GITHUB_TOKEN|ACTIONS_|SLACK_|SSH_)' | sort
ssh -G -F "$BOWLINE_SSH_CONFIG" root@203.0.113.10 | grep -E '^(identityagent|stricthostkeychecking|userknownhostsfile)'
socket=$(ssh -G -F "$BOWLINE_SSH_CONFIG" box | sed -n 's/^identityagent //p')
place=$(dirname "$socket")
stat -c 'place: %a' "$place"
SSH_AUTH_SOCK=$socket ssh-add -l
ssh-keygen -q -F 203.0.113.10 -f "$place/known_hosts" >/dev/null && echo "host key: known"
cat "$DOCKER_CONFIG/config.json"
echo "identity: $(cat "$AWS_WEB_IDENTITY_TOKEN_FILE")"
grep -rqs 'PRIVATE KEY' "$place" && echo "KEY ON DISK"
printf 'not-a-pass''word\nPRIVATE'' KEY\nrequest''-token\n' >"$PWD/secrets"
for process in /proc/[0-9]*; do
  tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -qsF -f "$PWD/secrets" && echo "SECRET IN ARGV of $(cat "$process/comm")"
done
echo "place: $place"
echo "::probe::"
printf 'tag=v5.0.2-b321acf\nversion=5.0.2-b321acf\nchanged=["user"]\nok=false\n' >>"$GITHUB_OUTPUT"
exit 5
"#;

fn program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// GitHub's token service, which is asked with the job's own token.
fn identity_service() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer_identity(stream);
        }
    });
    format!("http://{address}/token?version=1")
}

fn answer_identity(mut stream: std::net::TcpStream) {
    use std::io::{Read as _, Write as _};
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    while !request.contains("\r\n\r\n") {
        let read = stream.read(&mut buffer).unwrap();
        request.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let right = request.starts_with("GET /token?version=1&audience=sts.amazonaws.com HTTP/1.1\r\n")
        && request.contains("Authorization: bearer request-token\r\n");
    let (status, body) =
        if right { ("200 OK", "{\"count\": 1, \"value\": \"a.b.c\"}") } else { ("401 Unauthorized", "{}") };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .unwrap();
}

/// A key pair without a passphrase; gives the private key and the public one.
fn key_pair(scratch: &Path) -> (String, String) {
    let path = scratch.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "probe", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let read = |name: &str| std::fs::read_to_string(scratch.join(name)).unwrap();
    let pair = (read("key"), read("key.pub"));
    std::fs::remove_file(path).unwrap();
    pair
}

#[test]
fn the_action_gives_bowline_its_keys_and_leaves_none_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let origin = Origin::new();
    let clone = origin.clone_full();
    let commit = clone.write("bowline.toml", BOX).commit("start");
    clone.push();
    program(&scratch.path().join("probe"), PROBE);
    let (private, public) = key_pair(scratch.path());
    let mut runner = runner(scratch.path(), &origin, &commit, &scratch.path().join("probe"));
    // As forms leave it: with carriage returns, without the last line break.
    let pasted = private.trim_end().replace('\n', "\r\n");
    let kind_and_key: Vec<&str> = public.split(' ').take(2).collect();
    runner.contexts["secrets"] = json!({
        "BOWLINE_SSH_KEY": pasted, "SLACK_BOT_TOKEN": "xoxb-1",
        "REGISTRY_USER": "ada", "REGISTRY_PASSWORD": "not-a-password",
    });
    runner.contexts["vars"] = json!({
        "BOWLINE_KNOWN_HOSTS": format!("203.0.113.10 {}", kind_and_key.join(" ")),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/ship",
    });
    runner.environment.push(("ACTIONS_ID_TOKEN_REQUEST_URL".into(), identity_service()));
    runner.environment.push(("ACTIONS_ID_TOKEN_REQUEST_TOKEN".into(), "request-token".into()));

    let mut file = yaml(&workflow(BOX, &[], "main", "").render());
    let with = &mut file["jobs"]["ship"]["steps"].as_array_mut().unwrap().last_mut().unwrap()["with"];
    with["registry"] = json!("registry.example.com:5000");
    with["registry-user"] = json!("${{ secrets.REGISTRY_USER }}");
    with["registry-password"] = json!("${{ secrets.REGISTRY_PASSWORD }}");
    let job = runner.run(&file);

    let log = &job.log;
    assert_eq!((job.succeeded, job.code), (false, Some(5)), "{log}");
    let lines: BTreeSet<&str> = log.lines().collect();
    for line in [
        "argument: -C",
        "argument: .",
        "argument: ship",
        "argument: --",
        "argument: box",
        "GITHUB_TOKEN=ghs_notatoken",
        "SLACK_BOT_TOKEN=xoxb-1",
        "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/ship",
        "AWS_REGION=ap-northeast-2",
        "identity: a.b.c",
        "stricthostkeychecking true",
        "host key: known",
        "place: 700",
        "{\"auths\":{\"registry.example.com:5000\":{\"auth\":\"YWRhOm5vdC1hLXBhc3N3b3Jk\"}}}",
    ] {
        assert!(lines.contains(line), "{line} is missing:\n{log}");
    }
    assert!(log.contains(" probe (ED25519)\n"), "the agent has no key:\n{log}");
    for word in ["BOWLINE_ACTION_", "ACTIONS_ID_TOKEN", "SSH_AUTH_SOCK", "KEY ON DISK", "SECRET IN ARGV"] {
        assert!(!log.contains(word), "{word}:\n{log}");
    }
    let place = log.lines().filter_map(|line| line.strip_prefix("place: /")).next().unwrap();
    assert!(!Path::new("/").join(place).exists());
    assert!(!running(&format!("/{place}/agent")), "the agent still runs");
    assert_eq!(job.outputs["ship"]["changed"], "[\"user\"]");
    assert!(job.commands.is_empty(), "{:?}", job.commands);
}

/// Whether a process has this in its command line.
fn running(word: &str) -> bool {
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    commands
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(word))
}

#[test]
fn the_action_says_what_it_was_not_given() {
    let scratch = tempfile::tempdir().unwrap();
    let origin = Origin::new();
    let clone = origin.clone_full();
    let commit = clone.write("bowline.toml", BOX).commit("start");
    clone.push();
    program(&scratch.path().join("probe"), "#!/bin/sh\necho SHIPPED\n");
    let mut runner = runner(scratch.path(), &origin, &commit, &scratch.path().join("probe"));
    let file = yaml(&workflow(BOX, &[], "main", "").render());
    for (secrets, vars, why) in [
        (json!({ "BOWLINE_SSH_KEY": "x" }), json!({}), "known-hosts is not"),
        (
            json!({ "BOWLINE_SSH_KEY": "x" }),
            json!({ "BOWLINE_KNOWN_HOSTS": "h k" }),
            "does not take the ssh-key",
        ),
        (json!({}), json!({ "AWS_ROLE_ARN": "arn:x" }), "id-token: write"),
    ] {
        runner.contexts["secrets"] = secrets;
        runner.contexts["vars"] = vars;
        let job = runner.run(&file);
        assert_eq!((job.succeeded, job.code), (false, Some(2)), "{}", job.log);
        assert!(job.log.contains(why) && !job.log.contains("SHIPPED"), "{}", job.log);
    }
    runner.contexts["vars"] = json!({});
    runner.contexts["secrets"] = json!({});
    assert!(runner.run(&file).succeeded);
    // Started by hand on another branch, nothing runs.
    runner.contexts["github"]["ref"] = json!("refs/heads/feature");
    assert!(runner.run(&file).ran.is_empty());
}
