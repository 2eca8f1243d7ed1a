//! GitHub's runner, as far as our workflow and our action need it: expressions, steps, composite actions, outputs,
//! the job summary, and the commands that it finds in what steps print. `actions/checkout` is a real shallow fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

/// A machine with one job on it.
pub(crate) struct Runner {
    /// The action's source: what `uses: bowline-deploy/bowline@…` stands for.
    pub(crate) action: PathBuf,
    /// Where the repository is checked out.
    pub(crate) workspace: PathBuf,
    /// `$RUNNER_TEMP`.
    pub(crate) temp: PathBuf,
    /// `$HOME`.
    pub(crate) home: PathBuf,
    /// The address of the repository, and the commit that was pushed.
    pub(crate) remote: String,
    /// The commit that was pushed.
    pub(crate) commit: String,
    /// The binary that the cache holds for the action.
    pub(crate) cached: PathBuf,
    /// `secrets`, `vars` and `github`.
    pub(crate) contexts: Value,
    /// What every step finds in its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// What came of a job.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// Whether all steps that ran succeeded.
    pub(crate) succeeded: bool,
    /// The exit code of the step that failed.
    pub(crate) code: Option<i32>,
    /// What the steps printed.
    pub(crate) log: String,
    /// The job summary.
    pub(crate) summary: String,
    /// The outputs of the steps of the workflow, by their id.
    pub(crate) outputs: Map<String, Value>,
    /// Commands that the runner would have carried out.
    pub(crate) commands: Vec<String>,
    /// The names or actions of the steps that ran.
    pub(crate) ran: Vec<String>,
}

impl Runner {
    /// Runs the one job of a workflow.
    pub(crate) fn run(&self, workflow: &Value) -> Job {
        let jobs = workflow["jobs"].as_object().unwrap();
        let (_, work) = jobs.iter().next().unwrap();
        let mut job = Job { succeeded: true, ..Job::default() };
        let contexts = self.contexts.clone();
        if self.truth(work.get("if"), &contexts) {
            self.steps(&work["steps"], &contexts, &[], None, &mut job);
        }
        job
    }

    /// Runs steps one after the other; gives the outputs of those with an id.
    fn steps(
        &self,
        steps: &Value,
        outer: &Value,
        inherited: &[(String, String)],
        action: Option<&Path>,
        job: &mut Job,
    ) -> Value {
        let mut contexts = outer.clone();
        contexts["steps"] = json!({});
        for step in steps.as_array().unwrap() {
            if !job.succeeded || !self.truth(step.get("if"), &contexts) {
                continue;
            }
            let mut environment = inherited.to_vec();
            environment.extend(pairs(step.get("env"), &contexts));
            job.ran.push(
                ["name", "uses"].iter().find_map(|key| step[*key].as_str()).unwrap_or("run").to_owned(),
            );
            let outputs = match step["uses"].as_str() {
                Some(uses) => self.action(uses, step, &contexts, &environment, job),
                None => self.script(step["run"].as_str().unwrap(), &environment, action, job),
            };
            if let Some(id) = step["id"].as_str() {
                contexts["steps"][id] = json!({ "outputs": outputs });
                if action.is_none() {
                    job.outputs.insert(id.to_owned(), outputs);
                }
            }
        }
        contexts["steps"].clone()
    }

    fn action(
        &self,
        uses: &str,
        step: &Value,
        contexts: &Value,
        environment: &[(String, String)],
        job: &mut Job,
    ) -> Value {
        let with: BTreeMap<String, String> = pairs(step.get("with"), contexts).into_iter().collect();
        let (name, version) = uses.split_once('@').expect("an action has a version");
        assert!(version.starts_with('v'), "{uses}");
        match name {
            "actions/checkout" => {
                self.checkout(&with["fetch-depth"]);
                json!({})
            }
            "actions/setup-java" => json!({}),
            "actions/cache" => {
                assert!(with["key"].starts_with("bowline-"), "{with:?}");
                std::fs::create_dir_all(&with["path"]).unwrap();
                std::fs::copy(&self.cached, Path::new(&with["path"]).join("bowline")).unwrap();
                json!({ "cache-hit": "true" })
            }
            "bowline-deploy/bowline" => self.composite(&with, contexts, environment, job),
            other => panic!("{other} is not an action that this runner knows"),
        }
    }

    fn composite(
        &self,
        with: &BTreeMap<String, String>,
        outer: &Value,
        environment: &[(String, String)],
        job: &mut Job,
    ) -> Value {
        let text = std::fs::read_to_string(self.action.join("action.yml")).unwrap();
        let file: Value = serde_saphyr::from_str(&text).unwrap();
        let mut inputs = Map::new();
        for (name, input) in file["inputs"].as_object().unwrap() {
            let default = || interpolate(input["default"].as_str().unwrap_or(""), outer);
            inputs.insert(name.clone(), Value::from(with.get(name).cloned().unwrap_or_else(default)));
        }
        let unknown: Vec<_> = with.keys().filter(|name| !inputs.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "inputs that the action does not have: {unknown:?}");
        // Secrets reach an action by its inputs alone.
        let mut contexts = json!({ "inputs": inputs, "github": outer["github"], "runner": outer["runner"] });
        contexts["steps"] =
            self.steps(&file["runs"]["steps"], &contexts, environment, Some(&self.action), job);
        let output = |(name, output): (&String, &Value)| {
            (name.clone(), Value::from(interpolate(output["value"].as_str().unwrap(), &contexts)))
        };
        Value::Object(file["outputs"].as_object().unwrap().iter().map(output).collect())
    }

    /// As actions/checkout does it: an empty repository, then the one commit, without tags.
    fn checkout(&self, depth: &str) {
        let branch = self.contexts["github"]["ref_name"].as_str().unwrap();
        std::fs::remove_dir_all(&self.workspace).ok();
        std::fs::create_dir_all(&self.workspace).unwrap();
        let fetched = format!("+{}:refs/remotes/origin/{branch}", self.commit);
        let tracking = format!("refs/remotes/origin/{branch}");
        for arguments in [
            vec!["init", "--quiet"],
            vec!["remote", "add", "origin", &self.remote],
            vec!["fetch", "--quiet", "--no-tags", "--depth", depth, "origin", &fetched],
            vec!["checkout", "--quiet", "--force", "-B", branch, &tracking],
        ] {
            let mut git = Command::new("git");
            git.args(&arguments).current_dir(&self.workspace);
            let output = self.surround(&mut git).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    fn script(
        &self,
        script: &str,
        environment: &[(String, String)],
        action: Option<&Path>,
        job: &mut Job,
    ) -> Value {
        let place = tempfile::tempdir_in(&self.temp).unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("script.sh"), script).unwrap();
        let mut bash = Command::new("bash");
        // Both streams into one, in the order in which they come.
        bash.args([
            "--noprofile",
            "--norc",
            "-c",
            "exec 2>&1; exec bash --noprofile --norc -eo pipefail \"$1\"",
            "-",
        ]);
        bash.arg(path("script.sh")).current_dir(&self.workspace);
        self.surround(&mut bash).envs(environment.iter().cloned());
        bash.env("GITHUB_OUTPUT", path("output")).env("GITHUB_STEP_SUMMARY", path("summary"));
        if let Some(action) = action {
            bash.env("GITHUB_ACTION_PATH", action);
        }
        let output = bash.stdin(std::process::Stdio::null()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        job.commands.extend(commands(&printed));
        job.log.push_str(&printed);
        job.summary.push_str(&std::fs::read_to_string(path("summary")).unwrap_or_default());
        if !output.status.success() {
            job.succeeded = false;
            job.code = output.status.code();
        }
        outputs(&std::fs::read_to_string(path("output")).unwrap_or_default())
    }

    /// The environment of a step: nothing of the machine's but the search path.
    fn surround<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let github = &self.contexts["github"];
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", &self.home).env("RUNNER_TEMP", &self.temp);
        command.env("GITHUB_ACTIONS", "true").env("CI", "true");
        command.env("RUNNER_OS", "Linux").env("RUNNER_ARCH", "X64");
        for (variable, key) in [
            ("GITHUB_SHA", "sha"),
            ("GITHUB_REF", "ref"),
            ("GITHUB_REF_NAME", "ref_name"),
            ("GITHUB_REPOSITORY", "repository"),
            ("GITHUB_SERVER_URL", "server_url"),
            ("GITHUB_API_URL", "api_url"),
            ("GITHUB_RUN_ID", "run_id"),
            ("GITHUB_ACTOR", "actor"),
            ("GITHUB_EVENT_NAME", "event_name"),
            ("GITHUB_EVENT_PATH", "event_path"),
        ] {
            if let Some(value) = github[key].as_str() {
                command.env(variable, value);
            }
        }
        command.envs(self.environment.iter().cloned())
    }

    fn truth(&self, condition: Option<&Value>, contexts: &Value) -> bool {
        let Some(text) = condition.and_then(Value::as_str) else { return true };
        let text = text.trim().trim_start_matches("${{").trim_end_matches("}}");
        text.split("&&").all(|part| evaluate(part, contexts) == "true")
    }
}

/// A mapping of strings, with the expressions in it put in.
fn pairs(mapping: Option<&Value>, contexts: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => interpolate(text, contexts),
        other => other.to_string(),
    };
    let Some(mapping) = mapping.and_then(Value::as_object) else { return Vec::new() };
    mapping.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn interpolate(text: &str, contexts: &Value) -> String {
    let Some((before, rest)) = text.split_once("${{") else { return text.to_owned() };
    let (expression, after) = rest.split_once("}}").expect("an expression ends");
    format!("{before}{}{}", evaluate(expression, contexts), interpolate(after, contexts))
}

/// Comparisons of texts in quotes and paths such as `steps.ship.outputs.tag`.
fn evaluate(expression: &str, contexts: &Value) -> String {
    for (sign, equal) in [("==", true), ("!=", false)] {
        if let Some((left, right)) = expression.split_once(sign) {
            return ((evaluate(left, contexts) == evaluate(right, contexts)) == equal).to_string();
        }
    }
    let expression = expression.trim();
    if let Some(text) = expression.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return text.replace("''", "'");
    }
    let (context, _) = expression.split_once('.').expect("a path");
    assert!(!contexts[context].is_null(), "the context {context} does not exist here: {expression}");
    let value = expression.split('.').fold(contexts, |value, key| &value[key]);
    value.as_str().map(str::to_owned).unwrap_or_default()
}

/// What a step wrote to `$GITHUB_OUTPUT`.
fn outputs(text: &str) -> Value {
    let mut outputs = Map::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((name, delimiter)) = line.split_once("<<").filter(|(name, _)| !name.contains('=')) {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != delimiter).collect();
            outputs.insert(name.to_owned(), Value::from(value.join("\n")));
        } else {
            let (name, value) = line.split_once('=').expect("name=value");
            outputs.insert(name.to_owned(), Value::from(value));
        }
    }
    Value::Object(outputs)
}

/// The commands that the runner finds in what a step prints: `::name …::` at the beginning of a line, `##[name …]`
/// anywhere, except between `::stop-commands::TOKEN` and `::TOKEN::`.
fn commands(printed: &str) -> Vec<String> {
    let known: BTreeSet<&str> = [
        "set-output",
        "set-env",
        "add-path",
        "add-mask",
        "add-matcher",
        "remove-matcher",
        "save-state",
        "error",
        "warning",
        "notice",
        "debug",
        "group",
        "endgroup",
        "echo",
        "stop-commands",
    ]
    .into();
    let mut found = Vec::new();
    let mut stopped: Option<String> = None;
    for line in printed.lines() {
        let new = line.trim().strip_prefix("::").and_then(|rest| rest.split_once("::"));
        if let Some(token) = &stopped {
            if new.is_some_and(|(name, _)| name == token) {
                stopped = None;
            }
            continue;
        }
        let old = line.split_once("##[").and_then(|(_, rest)| rest.split_once(']'));
        let Some((command, value)) = new.or(old) else { continue };
        let name = command.split(' ').next().unwrap();
        if name == "stop-commands" {
            stopped = Some(value.to_owned());
        } else if known.contains(name) {
            found.push(line.to_owned());
        }
    }
    assert!(stopped.is_none(), "a step ended in silence");
    found
}

#[test]
fn the_runner_finds_commands_where_githubs_does() {
    let printed = "a\n  ::warning::x\n::stop-commands::t\n::set-output name=a::b\n##[error]\n::t::\nx ##[set-output name=a;]b\n::nonsense::\n";
    assert_eq!(commands(printed), ["  ::warning::x", "x ##[set-output name=a;]b"]);
}

#[test]
fn the_runner_reads_outputs_and_expressions_as_githubs_does() {
    assert_eq!(outputs("a=b=c\nd<<E\n1\n2\nE\n"), json!({ "a": "b=c", "d": "1\n2" }));
    let contexts = json!({ "github": { "ref": "refs/heads/it's" }, "vars": {} });
    assert_eq!(interpolate("x ${{ github.ref }} ${{ vars.none }}", &contexts), "x refs/heads/it's ");
    assert_eq!(evaluate("github.ref == 'refs/heads/it''s'", &contexts), "true");
    assert_eq!(evaluate("github.ref != 'x'", &contexts), "true");
}
