//! A part of the repository that a build tool knows.

/// What builds a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Gradle,
    Maven,
    Cargo,
    Node,
    /// Nothing but a Dockerfile is known of it.
    Docker,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gradle => "Gradle",
            Self::Maven => "Maven",
            Self::Cargo => "Cargo",
            Self::Node => "Node",
            Self::Docker => "Docker",
        }
    }
}

/// A part of the repository that a build tool knows. Directories are `""` for the repository's root.
#[derive(Debug, Clone)]
pub(super) struct Module {
    pub(super) tool: Tool,
    /// What the build tool calls it.
    pub(super) name: String,
    /// Another name that it has in the build: its artifact's.
    pub(super) alias: Option<String>,
    pub(super) directory: String,
    /// The directories of the modules that it is made from.
    pub(super) depends: Vec<String>,
    /// Why it looks like something that runs; `None` is a library.
    pub(super) runs: Option<String>,
    /// A glob of what the build leaves.
    pub(super) artifact: Option<String>,
    /// A port, and where it was read.
    pub(super) port: Option<(u16, String)>,
    /// The path of an HTTP health check, and where it was seen.
    pub(super) health: Option<(String, String)>,
    /// Files of the whole build that every module is made from.
    pub(super) shared: Vec<String>,
    /// The command that builds everything below `root`.
    pub(super) command: Option<String>,
    /// The command that builds this module alone.
    pub(super) own_command: Option<String>,
    /// Its Dockerfile, and whether that one builds the artifact itself.
    pub(super) dockerfile: Option<(String, bool)>,
    /// What its Dockerfile copies from the context.
    pub(super) copies: Vec<String>,
    /// What might be wrong about all that.
    pub(super) unsure: Vec<String>,
}

impl Module {
    pub(super) fn new(tool: Tool, name: impl Into<String>, directory: &str) -> Self {
        Self {
            tool,
            name: name.into(),
            alias: None,
            directory: directory.into(),
            depends: Vec::new(),
            runs: None,
            artifact: None,
            port: None,
            health: None,
            shared: Vec::new(),
            command: None,
            own_command: None,
            dockerfile: None,
            copies: Vec::new(),
            unsure: Vec::new(),
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> &str {
        if self.directory.is_empty() { "." } else { &self.directory }
    }
}
