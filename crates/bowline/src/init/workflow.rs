//! The GitHub workflow that ships every merge: what it has to do is found out from the configuration and the
//! repository, then rendered. Pure.

use std::fmt::Write as _;

use crate::config::{Command, Config, Target};

use super::script::{after, uncommented};
use super::tree::Tree;

/// Where the action is found: this version of it.
const ACTION: &str = concat!("bowline-deploy/bowline@v", env!("CARGO_PKG_VERSION"));
/// The JDK when nothing says which.
const JDK: u32 = 21;

/// What the workflow has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// The branch that is merged into.
    pub branch: String,
    /// The directory of `bowline.toml` below the repository's top; empty at the top.
    pub directory: String,
    /// The target that is shipped to.
    pub target: String,
    /// How it is reached.
    pub reach: Reach,
    /// Where images are kept.
    pub registry: Registry,
    /// The JDK that the build needs.
    pub java: Option<Java>,
    /// The environment variables that the configuration reads secrets from, in order.
    pub secrets: Vec<String>,
}

/// How the target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// By SSH: host and port as `ssh-keyscan` wants them.
    Ssh {
        /// The host.
        host: String,
        /// The port, where it is not 22.
        port: Option<String>,
    },
    /// It is the machine that the job runs on.
    Local,
    /// A cluster, by the kubeconfig of the machine that the job runs on.
    Cluster,
}

/// Where images are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// With the runner, whose disk may be gone tomorrow.
    Embedded,
    /// Amazon's, in this region: reached by OIDC.
    Ecr(String),
    /// GitHub's own: the job's token opens it.
    Github,
    /// Another, by name and password.
    Other(String),
}

/// A JDK, and what is kept between builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Java {
    /// The version, and whether a file of the repository says so.
    pub version: u32,
    /// Whether a file of the repository says so.
    pub told: bool,
    /// `gradle` or `maven`.
    pub cache: &'static str,
}

impl Workflow {
    /// Finds out what the workflow for this target has to do. `directory` is where the configuration lies below the
    /// repository's top, empty or with `/` between its parts.
    pub fn of(config: &Config, tree: &Tree, target: &Target, branch: &str, directory: &str) -> Self {
        Self {
            branch: branch.to_owned(),
            directory: directory.trim_matches('/').to_owned(),
            target: target.name().to_owned(),
            reach: reach(target),
            registry: registry(config),
            java: java(config, tree),
            secrets: config.secret_variables(),
        }
    }
}

fn reach(target: &Target) -> Reach {
    let (host, missing) = match target {
        Target::Compose(target) => (target.host.as_deref(), Reach::Local),
        Target::Kubernetes(target) => (target.host.as_deref(), Reach::Cluster),
    };
    let Some(address) = host.and_then(|host| host.strip_prefix("ssh://")) else { return missing };
    let address = address.rsplit_once('@').map_or(address, |(_, address)| address).trim_end_matches('/');
    let port = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match address.rsplit_once(':') {
        Some((host, text)) if port(text) => {
            let port = (text != "22").then(|| text.to_owned());
            Reach::Ssh { host: host.trim_matches(['[', ']']).to_owned(), port }
        }
        _ => Reach::Ssh { host: address.trim_matches(['[', ']']).to_owned(), port: None },
    }
}

fn registry(config: &Config) -> Registry {
    let Some(repository) = &config.repository else { return Registry::Embedded };
    if repository.is_loopback() {
        return Registry::Embedded;
    }
    let parts: Vec<&str> = repository.registry.split('.').collect();
    match parts.as_slice() {
        [_, "dkr", "ecr" | "ecr-fips", region, "amazonaws", ..] => Registry::Ecr((*region).to_owned()),
        ["ghcr", "io"] => Registry::Github,
        _ => Registry::Other(repository.registry.clone()),
    }
}

fn java(config: &Config, tree: &Tree) -> Option<Java> {
    let commands = config.command.iter().chain(config.services.values().filter_map(|it| it.command.as_ref()));
    let words = |command: &Command| match command {
        Command::Words(words) => words.first().cloned().unwrap_or_default(),
        Command::Shell(script) => script.clone(),
    };
    let programs: Vec<String> = commands.map(words).collect();
    let runs = |name: &str| programs.iter().any(|program| program.contains(name));
    let cache = if runs("gradle") {
        "gradle"
    } else if runs("mvn") {
        "maven"
    } else {
        return None;
    };
    let told = tree.texts().filter_map(|(path, text)| jdk(path, text)).max();
    Some(Java { version: told.unwrap_or(JDK), told: told.is_some(), cache })
}

/// The newest Java that a build script asks for.
fn jdk(path: &str, text: &str) -> Option<u32> {
    let text = if path.ends_with(".gradle") || path.ends_with(".gradle.kts") {
        uncommented(text)
    } else if path.ends_with("pom.xml") {
        text.to_owned()
    } else {
        return None;
    };
    let words = [
        "JavaLanguageVersion.of",
        "jvmToolchain",
        "sourceCompatibility",
        "targetCompatibility",
        "java.version",
        "maven.compiler.release",
        "maven.compiler.source",
        "release",
    ];
    words.iter().flat_map(|word| after(&text, word)).filter_map(version).max()
}

/// The number that follows, behind quotes, signs and names such as `JavaVersion.VERSION_17`.
fn version(rest: &str) -> Option<u32> {
    let rest = rest.trim_start_matches([' ', '=', '(', '>', '\'', '"', '\t']);
    let rest = rest.strip_prefix("JavaVersion.VERSION_").unwrap_or(rest);
    let rest = rest.strip_prefix("1.").or_else(|| rest.strip_prefix("1_")).unwrap_or(rest);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok().filter(|version| (8..100).contains(version))
}

impl Workflow {
    /// What has to be stored in the repository's settings before it works, and what is unsure, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        match &self.reach {
            Reach::Ssh { host, port } => {
                let port = port.as_ref().map(|port| format!("-p {port} ")).unwrap_or_default();
                remarks.push("secret BOWLINE_SSH_KEY: the private key that may log in on the target".into());
                remarks.push(format!(
                    "variable BOWLINE_KNOWN_HOSTS: what `ssh-keyscan {port}{host}` prints, compared with the host's own keys"
                ));
            }
            Reach::Local => remarks.push(format!(
                "target {} has no host: the job runs on the machine itself, which needs a self-hosted runner",
                self.target
            )),
            Reach::Cluster => remarks.push(format!(
                "target {} is reached by a kubeconfig: the job runs where there is one, on a self-hosted runner",
                self.target
            )),
        }
        match &self.registry {
            Registry::Embedded => remarks.push(
                "images are kept on the runner, and lost with it: set `repository` in [registry], or keep the runner"
                    .into(),
            ),
            Registry::Ecr(_) => remarks.push(
                "variable AWS_ROLE_ARN: a role whose trust names this repository and branch, allowed to push to ECR"
                    .into(),
            ),
            Registry::Github => {}
            Registry::Other(host) => remarks
                .push(format!("secrets REGISTRY_USER and REGISTRY_PASSWORD: a login for {host} that may push")),
        }
        remarks.extend(self.secrets.iter().map(|name| format!("secret {name}: bowline.toml reads it")));
        if let Some(Java { version, told: false, .. }) = &self.java {
            remarks.push(format!("no build file says which Java: {version} is a guess"));
        }
        remarks
    }

    /// The file `.github/workflows/ship.yml`.
    pub fn render(&self) -> String {
        let branch = quote(&pattern(&self.branch));
        let mut text = format!(
            "# Ships every merge into {}. Written by `bowline init --github`; it is yours to change.\n\
             name: ship\n\n\
             on:\n  push:\n    branches: [{branch}]\n  \
             # By hand, for instance after a failed run: the same commit gets the same tag, and only what is missing is done.\n  \
             workflow_dispatch:\n\n",
            comment(&self.branch)
        );
        text.push_str(&self.concurrency());
        text.push_str(&self.permissions());
        text.push_str(&self.job());
        text
    }

    fn concurrency(&self) -> String {
        format!(
            "# One run at a time for this target; none is stopped half-way, and those that wait do not push each other out\n\
             # (a host that does not know `queue` keeps only the newest one waiting: leave the line out there). Should a run\n\
             # be lost nevertheless, its change is not: the next version is the highest that any change merged since the last\n\
             # release asks for, and a run that comes after a newer release says so and changes nothing.\n\
             concurrency:\n  group: {}\n  cancel-in-progress: false\n  queue: max\n\n",
            quote(&format!("ship-{}", self.target))
        )
    }

    fn permissions(&self) -> String {
        let mut text = String::from(
            "permissions:\n  contents: write        # pushes the release's tag\n  pull-requests: read    # reads the titles of merged changes\n",
        );
        match self.registry {
            Registry::Ecr(_) => {
                text.push_str("  id-token: write        # proves to AWS which repository this is\n")
            }
            Registry::Github => text.push_str("  packages: write        # pushes images to ghcr.io\n"),
            Registry::Embedded | Registry::Other(_) => {}
        }
        text.push('\n');
        text
    }

    fn job(&self) -> String {
        let runner = match self.reach {
            Reach::Ssh { .. } => "ubuntu-latest",
            Reach::Local | Reach::Cluster => {
                "self-hosted   # the machine that is deployed to, or one that reaches it"
            }
        };
        let branch = self.branch.replace('\'', "''");
        let mut text = format!(
            "jobs:\n  ship:\n    # Started by hand, it must not ship another branch.\n    if: {}\n    \
             runs-on: {runner}\n    timeout-minutes: 60\n    steps:\n      \
             # The newest commit is enough: Bowline fetches the history that it needs, without files.\n      \
             - uses: actions/checkout@v6\n        with:\n          fetch-depth: 1\n",
            quote_expression(&format!("github.ref == 'refs/heads/{branch}'"))
        );
        if let Some(Java { version, told, cache }) = &self.java {
            let guess = if *told { "" } else { "   # a guess: no build file says which" };
            let _ = write!(
                text,
                "      - uses: actions/setup-java@v5\n        with:\n          distribution: temurin\n          \
                 java-version: \"{version}\"{guess}\n          cache: {cache}\n"
            );
        }
        let _ = write!(
            text,
            "      # Titles of merged changes are read from the event and the API; no expression puts them into a script.\n      \
             - uses: {ACTION}\n        id: ship\n        with:\n          target: {}\n",
            quote(&self.target)
        );
        if !self.directory.is_empty() {
            let _ = writeln!(text, "          directory: {}", quote(&self.directory));
        }
        if matches!(self.reach, Reach::Ssh { .. }) {
            text.push_str("          ssh-key: ${{ secrets.BOWLINE_SSH_KEY }}\n          known-hosts: ${{ vars.BOWLINE_KNOWN_HOSTS }}\n");
        }
        text.push_str(&self.login());
        if !self.secrets.is_empty() {
            text.push_str("        env:\n");
            for name in &self.secrets {
                let _ = writeln!(text, "          {name}: ${{{{ secrets.{name} }}}}");
            }
        }
        text
    }

    fn login(&self) -> String {
        match &self.registry {
            Registry::Embedded => String::new(),
            Registry::Ecr(region) => format!(
                "          aws-role: ${{{{ vars.AWS_ROLE_ARN }}}}\n          aws-region: {}\n",
                quote(region)
            ),
            Registry::Github => {
                "          registry: ghcr.io\n          registry-user: ${{ github.actor }}\n          \
                                 registry-password: ${{ github.token }}\n"
                    .into()
            }
            Registry::Other(host) => format!(
                "          registry: {}\n          registry-user: ${{{{ secrets.REGISTRY_USER }}}}\n          \
                 registry-password: ${{{{ secrets.REGISTRY_PASSWORD }}}}\n",
                quote(host)
            ),
        }
    }
}

/// A YAML double-quoted scalar (YAML 1.2, section 7.3.1: JSON's strings are a part of them) that GitHub takes as it is:
/// an expression in it is shown, not evaluated.
fn quote(text: &str) -> String {
    quote_expression(&text.replace("${{", "${{ '${{' }}"))
}

fn quote_expression(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A branch as a filter pattern that matches it alone ("Filter pattern cheat sheet"). Git allows no `*`, `?`, `[` and
/// `\` in names (git-check-ref-format), so these two are left.
fn pattern(branch: &str) -> String {
    let escaped = branch.replace('+', "\\+");
    if escaped.starts_with('!') { format!("\\{escaped}") } else { escaped }
}

/// Text that stays in its comment.
fn comment(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
