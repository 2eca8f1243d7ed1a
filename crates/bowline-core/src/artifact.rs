//! What a build leaves behind, recognised by its content, and the Dockerfile that makes an image of it.
//!
//! The shell reads files and hands over what was in them; nothing here touches a disk. Names never decide alone:
//! a jar counts as runnable for its manifest, a binary as static for its program headers.

pub mod binary;
pub mod dockerfile;
pub mod folder;
pub mod jar;

use crate::image::Platform;

/// What kind of thing a service's artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// A jar with a `Main-Class`: `java -jar` runs it.
    Jar {
        /// The Java version its classes were compiled for, where a class could be read.
        java: Option<u16>,
    },
    /// A Linux executable.
    Binary {
        /// What it runs on.
        platform: Platform,
        /// What it needs to run.
        linkage: Linkage,
    },
    /// A folder with a `package.json`.
    Node {
        /// The command that starts it.
        command: Vec<String>,
        /// The major version that `engines.node` asks for.
        version: Option<u16>,
        /// How its dependencies get into the image.
        dependencies: Dependencies,
    },
    /// A folder with Python sources.
    Python {
        /// The file that starts it, relative to the folder; `.` for a folder with `__main__.py`.
        entry: String,
        /// How its dependencies get into the image.
        dependencies: Dependencies,
    },
    /// A Python zip application: a zip archive with `__main__.py` (PEP 441).
    Zipapp,
    /// A folder with an `index.html`: files that a web server hands out.
    Site,
}

/// What a binary needs to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Linkage {
    /// Nothing but a kernel.
    Static,
    /// The GNU C library.
    Glibc {
        /// The newest symbol version it names, e.g. (2, 36), where one was found.
        at_least: Option<(u32, u32)>,
    },
    /// The musl C library.
    Musl,
}

/// How the dependencies of a folder of sources get into its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependencies {
    /// It has none, or the build put them into the folder.
    Inside,
    /// `npm ci` fetches what the lock file names.
    NpmLock,
    /// `npm install` fetches what `package.json` asks for.
    Npm,
    /// `pip install -r requirements.txt`.
    Requirements,
    /// `pip install .`
    Project,
}

/// Why no Dockerfile can be made for something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// A jar that only other jars use.
    #[error("its manifest names no Main-Class, so `java -jar` cannot run it")]
    NotRunnable,
    /// A Python package, which an engine would have to install.
    #[error("it is a Python wheel, which does not say what to start")]
    Wheel,
    /// An ELF file that is no program.
    #[error("it is {0}, not a program")]
    NotAProgram(&'static str),
    /// A program for something else than Linux in a container.
    #[error("it needs the loader {0}, which no known base image has")]
    Loader(String),
    /// A processor nobody makes images for.
    #[error("it is for an unknown processor (ELF machine {0})")]
    Machine(u16),
    /// The file is cut off or contradicts itself.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// `package.json` says not how to start it.
    #[error("its package.json has no start script and no main file")]
    NoStart,
    /// Python sources without a recognisable beginning.
    #[error("it has none of __main__.py, main.py, app.py and server.py")]
    NoEntry,
    /// Nothing that Bowline knows.
    #[error("it is no jar, ELF binary, Python zip application or script folder")]
    Nothing,
}

impl Unknown {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotRunnable => {
                "point `artifact` at the jar that the application plugin makes (Spring Boot: the one without `-plain`), \
                 or write a Dockerfile and name it with `dockerfile`"
            }
            Self::Wheel => {
                "write a Dockerfile with `COPY dist/*.whl /` and `RUN pip install /*.whl`, or let the build make a zip \
                 application (python -m zipapp), which needs no engine"
            }
            Self::NoStart => {
                "add a `start` script to package.json, or write a Dockerfile and name it with `dockerfile`"
            }
            Self::NoEntry => {
                "name the file that starts it main.py, or write a Dockerfile and name it with `dockerfile`"
            }
            _ => "write a Dockerfile for the service and name it with `dockerfile`",
        }
    }
}

impl Artifact {
    /// In a few words, for people: `runnable jar for Java 17`.
    pub fn describe(&self) -> String {
        match self {
            Self::Jar { java: Some(version) } => format!("runnable jar for Java {version}"),
            Self::Jar { java: None } => "runnable jar".into(),
            Self::Binary { platform, linkage: Linkage::Static } => format!("static binary for {platform}"),
            Self::Binary { platform, linkage: Linkage::Musl } => format!("binary for {platform} with musl"),
            Self::Binary { platform, linkage: Linkage::Glibc { .. } } => {
                format!("dynamic binary for {platform}")
            }
            Self::Node { .. } => "Node application".into(),
            Self::Python { .. } => "Python application".into(),
            Self::Zipapp => "Python zip application".into(),
            Self::Site => "static site".into(),
        }
    }

    /// The platform that the artifact alone decides; `None` where it runs on any.
    pub fn platform(&self) -> Option<&Platform> {
        match self {
            Self::Binary { platform, .. } => Some(platform),
            _ => None,
        }
    }
}
