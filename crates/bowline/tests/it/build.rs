//! Build commands as they are run: output, failures, and what is left of them when they are stopped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bowline::build::output::Prefix;
use bowline::build::process::{Job, execute};
use bowline::error::Outcome;
use bowline::ui::Ui;

fn job(directory: &Path, script: &str) -> Job {
    Job {
        subject: "user".into(),
        prefix: Prefix::new("user", 0, 4),
        words: vec!["sh".into(), "-c".into(), script.into()],
        directory: directory.to_owned(),
        environment: vec![("BOWLINE_TAG".into(), "v1.0.0-abc1234".into())],
        hidden: vec!["CARGO_MANIFEST_DIR".into()],
        log: directory.join("logs/run/user.log"),
        timeout: None,
    }
}

fn run(job: &Job) -> Outcome<()> {
    tokio::runtime::Runtime::new().unwrap().block_on(execute(&Ui::new(false, true), job))
}

fn log(job: &Job) -> String {
    std::fs::read_to_string(&job.log).unwrap()
}

/// Whether the process whose id a build wrote into this file is there.
fn lives(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn both_channels_are_kept_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(
        directory.path(),
        "for i in 1 2 3; do echo out $i; echo err $i >&2; done; echo $BOWLINE_TAG; pwd",
    );
    run(&job).unwrap();
    let place = directory.path().canonicalize().unwrap();
    assert_eq!(
        log(&job),
        format!("out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nv1.0.0-abc1234\n{}\n", place.display())
    );
}

#[test]
fn a_failure_shows_code_last_lines_and_log() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "seq 1 30; echo no such symbol >&2; exit 3");
    let failure = run(&job).unwrap_err();
    assert_eq!(failure.kind.code(), 1);
    assert!(failure.causes[0].contains("exited with code 3"), "{failure}");
    assert_eq!(failure.detail.len(), 20);
    assert_eq!(failure.detail[19], "│ no such symbol");
    assert!(failure.hint.unwrap().contains(&job.log.display().to_string()));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for (word, cause) in
        [("./gradlew", "there is no ./gradlew in"), ("no-such-tool", "no program `no-such-tool` in PATH")]
    {
        let job = Job { words: vec![word.into(), "build".into()], ..job(directory.path(), "") };
        let failure = run(&job).unwrap_err();
        assert!(failure.to_string().contains(cause), "{failure}");
    }
    std::fs::write(directory.path().join("gradlew"), "#!/bin/sh\n").unwrap();
    let job = Job { words: vec!["./gradlew".into()], ..job(directory.path(), "") };
    assert_eq!(run(&job).unwrap_err().hint.as_deref(), Some("git update-index --chmod=+x ./gradlew"));
}

#[test]
fn a_build_that_takes_too_long_is_stopped_with_all_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let stubborn = "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > child; wait; wait; sleep 1000";
    let job = Job { timeout: Some(Duration::from_millis(300)), ..job(directory.path(), stubborn) };
    let failure = run(&job).unwrap_err();
    assert!(failure.to_string().contains("took longer than 300 ms"), "{failure}");
    eventually("the child is gone", || !lives(&directory.path().join("child")));
}

#[test]
fn a_build_that_is_cancelled_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "sleep 1000 & echo $! > child; wait");
    let child: PathBuf = directory.path().join("child");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let ui = Ui::new(false, true);
        let work = execute(&ui, &job);
        let started = async {
            while !lives(&child) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! { _ = work => panic!("it ended"), () = started => {} }
    });
    eventually("the child is gone", || !lives(&child));
}

#[test]
fn a_daemon_that_a_build_leaves_behind_stays_and_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "sleep 20 & echo $! > child; echo done");
    let start = Instant::now();
    run(&job).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let child = directory.path().join("child");
    assert!(lives(&child));
    let pid = std::fs::read_to_string(child).unwrap();
    Command::new("kill").arg(pid.trim()).status().unwrap();
}

/// A project in a directory of its own, with the state and cache of its own.
struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new(toml: &str, files: &[(&str, &str)]) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        project.write("bowline.toml", &format!("[project]\nname = \"shop\"\n{toml}"));
        files.iter().for_each(|(path, content)| project.write(path, content));
        project
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), content).unwrap();
    }

    fn bowline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("-C").arg(self.directory.path()).args(arguments);
        command.env("BOWLINE_STATE", self.path(".state")).env("BOWLINE_CACHE", self.path(".cache"));
        command.env("NO_COLOR", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.bowline(arguments).output().unwrap()
    }

    /// The digest of a service's image, built as this version.
    fn digest(&self, service: &str, tag: &str) -> String {
        let output = self.run(&["--json", "build", "--service", service, "--version-tag", tag]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
        let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
        summary["services"][service]["digest"].as_str().unwrap().to_owned()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_killed_bowline_leaves_no_build_behind() {
    let project = Project::new(
        "[build]\ncommand = \"sh slow.sh\"\n[services.user]\nartifact = \"x\"\n",
        &[("slow.sh", "sleep 1000 & echo $! > child\necho $$ > parent\nwait\n")],
    );
    let mut bowline = project.bowline(&["build"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the build runs", || lives(&project.path("parent")));
    bowline.kill().unwrap();
    bowline.wait().unwrap();
    eventually("the build is gone", || !lives(&project.path("child")) && !lives(&project.path("parent")));
}

#[test]
fn services_are_built_side_by_side_and_one_failure_stops_the_others() {
    let service =
        |name: &str| format!("[services.{name}]\nbuild = \"sh {name}.sh\"\nartifact = \"{name}\"\n");
    let project = Project::new(
        &["chat", "user"].map(service).concat(),
        &[
            // Neither ends before both have started: that needs two processors.
            (
                "chat.sh",
                "touch chat.on; while [ ! -e user.on ]; do sleep 0.05; done; echo chat $BOWLINE_SERVICE; sleep 1000",
            ),
            (
                "user.sh",
                "touch user.on; while [ ! -e chat.on ]; do sleep 0.05; done; sleep 0.2; echo broken; exit 7",
            ),
        ],
    );
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("SKIPPED: one processor builds one service at a time");
        return;
    }
    let start = Instant::now();
    let output = project.run(&["build"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(20));
    let text = stderr(&output);
    assert!(text.contains("chat  │ chat chat"), "{text}");
    assert!(text.contains("exited with code 7"), "{text}");
    assert!(text.contains("  │ broken"), "{text}");
}

#[test]
fn a_version_that_nothing_in_the_image_names_does_not_change_it() {
    let project = Project::new(
        "[build]\ncommand = \"sh make.sh {tag}\"\n[services.user]\nartifact = \"out/user-{tag}.bin\"\n",
        &[
            ("make.sh", "mkdir -p out; cp payload out/user-$1.bin; cp Dockerfile.in out/Dockerfile"),
            ("payload", "content"),
            (
                "Dockerfile.in",
                "FROM scratch\nARG BOWLINE_TAG\nCOPY user-${BOWLINE_TAG}.bin /app/user\nENTRYPOINT [\"/app/user\"]\n",
            ),
        ],
    );
    let first = project.digest("user", "v1.0.0-abc1234");
    assert_eq!(project.digest("user", "v1.0.1-def5678"), first);
    project.write("payload", "other content");
    assert_ne!(project.digest("user", "v1.0.2-abc1234"), first);
    let output = project.run(&["build", "--version-tag", "v1.0.2-abc1234"]);
    assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
    project.write("Dockerfile.in", "FROM scratch\nARG BOWLINE_VERSION\nLABEL version=$BOWLINE_VERSION\n");
    let output = project.run(&["build", "--version-tag", "v1.0.2-abc1234"]);
    assert!(stderr(&output).contains("warning: the image of user names its version"), "{}", stderr(&output));
}

#[test]
fn dockerfiles_are_written_once_and_used_from_then_on() {
    let project = Project::new("[services.web]\ncontext = \"web\"\n", &[("web/index.html", "<h1>hi</h1>")]);
    let output = project.run(&["build", "--write-dockerfiles"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line =
        "web.Dockerfile  (add to [services.web]: context = \"web\", dockerfile = \"web.Dockerfile\")\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), line);
    let text = std::fs::read_to_string(project.path("web.Dockerfile")).unwrap();
    assert!(text.contains("COPY . /srv/"), "{text}");
    let output = project.run(&["build", "--write-dockerfiles"]);
    assert!(stderr(&output).contains("web.Dockerfile"), "nothing is overwritten");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_needs_an_engine_is_handed_to_it_with_the_line_that_is_the_reason() {
    let Some(program) = bowline_testkit::image::program() else { return };
    let Some(host) = bowline_testkit::host::Host::start("build") else { return };
    let dockerfile = "FROM scratch\nCOPY program /program\nRUN [\"/program\", \"exit\", \"0\"]\n";
    let project = Project::new("[services.tool]\ncontext = \"tool\"\n", &[("tool/Dockerfile", dockerfile)]);
    std::fs::copy(program, project.path("tool/program")).unwrap();
    let output = project.bowline(&["build"]).env("DOCKER_HOST", host.docker_host()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("by the engine, for line 3"), "{table}");
    // The same with a command that fails: the engine's words, and where all of them are.
    project.write("tool/Dockerfile", &dockerfile.replace("\"0\"", "\"9\""));
    let output = project.bowline(&["build"]).env("DOCKER_HOST", host.docker_host()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("making the image of tool") && text.contains("line 3"), "{text}");
    assert!(text.contains("tool │") && text.contains("code: 9"), "{text}");
}

/// What a release of the clone's head would build, compared with a release of another commit.
fn changes(clone: &bowline_testkit::repository::Repository, since: Option<&str>) -> String {
    use bowline_core::release::{FORMAT, Record, ReleasedImage};
    let config = bowline::config::Config::load(clone.path()).unwrap();
    let image = |service: &bowline::config::Service| ReleasedImage {
        id: bowline_core::image::ImageId {
            manifest: bowline_core::digest::Digest::of(b"manifest"),
            config: bowline_core::digest::Digest::of(b"config"),
            platform: bowline_core::image::Platform::linux("amd64"),
        },
        tag: String::new(),
        changed: true,
        built_in: "v1.0.0".into(),
        definition: Some(bowline::build::change::definition(&config, service)),
        healthcheck: false,
        size: 0,
        layers: Default::default(),
    };
    let record = since.map(|commit| Record {
        format: FORMAT,
        project: "shop".into(),
        tag: "v1.0.0".into(),
        version: "1.0.0".into(),
        commit: commit.into(),
        previous: None,
        images: config.services.values().map(|service| (service.name.to_string(), image(service))).collect(),
        spec: bowline_core::digest::Digest::of(b"spec"),
        created: bowline::clock::now(),
        changes: Vec::new(),
    });
    let cache = tempfile::tempdir().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let git = bowline::git::Git::open(clone.path()).await.unwrap().with_cache(cache.path().into());
        let head = git.head().await.unwrap();
        let found =
            bowline::operation::build::find_changes(&config, &git, "origin", record.as_ref(), &head, &[]);
        let found = found.await.unwrap();
        found.iter().map(|(name, changed)| format!("{name}: {changed}")).collect::<Vec<_>>().join("; ")
    })
}

#[test]
fn only_services_whose_inputs_changed_since_the_last_release_are_built() {
    let origin = bowline_testkit::repository::Origin::new();
    let clone = origin.clone_full();
    let toml = "[project]\nname = \"shop\"\n[services.chat]\ninputs = [\"chat/**\", \"common/**\"]\n\
                [services.user]\ninputs = [\"user/**\", \"common/**\"]\n";
    clone.write("bowline.toml", toml).write("chat/a", "1").write("user/a", "1").write("common/a", "1");
    let first = clone.commit("one");
    clone.write("chat/a", "2").write("README", "2");
    let second = clone.commit("two");
    clone.push();
    assert_eq!(changes(&clone, None), "chat: first release; user: first release");
    assert_eq!(changes(&clone, Some(&first)), "chat: chat/a; user: unchanged");
    assert_eq!(changes(&clone, Some(&second)), "chat: unchanged; user: unchanged");
    // A clone of depth 1 gives the same answer.
    assert_eq!(changes(&origin.clone_shallow(1), Some(&first)), "chat: chat/a; user: unchanged");
    let unknown = changes(&clone, Some(&"0".repeat(40)));
    assert!(unknown.starts_with("chat: history unknown: "), "{unknown}");
}

#[test]
fn secrets_of_ours_stay_out_of_the_build() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(directory.path(), "echo \"[$CARGO_MANIFEST_DIR] ${PATH:+path}\"");
    run(&job).unwrap();
    assert_eq!(log(&job), "[] path\n");
}
