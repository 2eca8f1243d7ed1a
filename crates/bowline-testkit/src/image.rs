//! Small images `FROM scratch` with one static program that behaves as it is told (see `program/main.rs`).

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::skip::skip;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/program/main.rs");

/// The static test program; built by `rustc` at the first call, then taken from a cache in the temporary directory.
///
/// `None`, and a loud line, where it cannot be built (see [`crate::skip::skip`]).
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PROGRAM.get_or_init(build) {
        Ok(path) => Some(path),
        Err(why) => skip(why),
    }
}

/// Debian's static busybox: a shell and its tools in one program.
///
/// # Errors
/// Why there is none.
pub fn busybox() -> Result<&'static Path, String> {
    const PLACES: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];
    let place = PLACES.iter().map(Path::new).find(|path| path.is_file());
    place.ok_or_else(|| "busybox is not installed (scripts/setup kubernetes)".to_owned())
}

fn build() -> Result<PathBuf, String> {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let told = Command::new(&compiler).arg("-vV").output();
    let told = told.map_err(|error| format!("{compiler} cannot be started: {error}"))?;
    let mut hasher = DefaultHasher::new();
    (fs::read(SOURCE).map_err(|error| format!("{SOURCE}: {error}"))?, told.stdout).hash(&mut hasher);
    let folder = std::env::temp_dir().join(format!("bowline-testkit-{:016x}", hasher.finish()));
    let path = folder.join("program");
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // Several test binaries may build at once: each its own file, and the last rename wins with equal bytes.
    let fresh = folder.join(format!("program-{}", std::process::id()));
    let output = Command::new(&compiler)
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort"])
        .args(["-C", "strip=symbols", SOURCE, "-o"])
        .arg(&fresh)
        .output()
        .map_err(|error| format!("{compiler} cannot be started: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the static test program cannot be built (scripts/setup build): {error}"));
    }
    fs::rename(&fresh, &path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// An image to make: the test program as entry point at `/program`, and what is added.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    instructions: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

/// Describes an image `name:tag` with the test program.
pub fn scratch(name: &str) -> Image {
    let instructions = vec!["ENTRYPOINT [\"/program\"]".to_owned()];
    Image { name: name.to_owned(), instructions, files: Vec::new() }
}

impl Image {
    /// Sets a variable, by which most behaviour is told: `HEALTHY_AFTER`, `EXIT_AFTER`, ….
    #[must_use]
    pub fn env(self, name: &str, value: &str) -> Self {
        self.instruction(&format!("ENV {name}=\"{value}\""))
    }

    /// Sets the version that the program answers, as a file: two images that differ in nothing else.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.file("version", version)
    }

    /// Adds a file, by its path without the first slash.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Adds a file of so many bytes that do not compress, the same ones for the same `seed`.
    #[must_use]
    pub fn payload(self, bytes: usize, seed: u64) -> Self {
        let mut state = seed | 1;
        let mut content = Vec::with_capacity(bytes + 8);
        while content.len() < bytes {
            // xorshift64: fast, and good enough not to compress.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend(state.to_le_bytes());
        }
        content.truncate(bytes);
        self.file("payload", content)
    }

    /// Gives the image a health check, by the program itself, each second.
    #[must_use]
    pub fn healthcheck(self) -> Self {
        self.instruction("HEALTHCHECK --interval=1s --timeout=2s --retries=2 CMD [\"/program\", \"health\"]")
    }

    /// Adds a line of a Dockerfile: `EXPOSE 8080`, `LABEL a=b`, `CMD […]`, `USER 7`, `VOLUME /data`, ….
    #[must_use]
    pub fn instruction(mut self, line: &str) -> Self {
        self.instructions.push(line.to_owned());
        self
    }

    /// Makes the image on an engine (what `DOCKER_HOST` would be) and gives its id, `sha256:…`. No registry is
    /// asked. `None`, and a loud line, where the program cannot be built.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn make(&self, docker_host: &str) -> Option<String> {
        let program = program()?;
        let mut command = Command::new("docker");
        command.args(["-H", docker_host, "import"]);
        for line in &self.instructions {
            command.args(["--change", line]);
        }
        command.args(["-", &self.name]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docker can be started");
        let mut input = child.stdin.take().expect("its input is a pipe");
        // When the engine refuses early, writing fails; what it said is the better message.
        let sent = self.archive(program).and_then(|bytes| input.write_all(&bytes));
        drop(input);
        let output = child.wait_with_output().expect("docker ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && sent.is_ok(), "docker import {}: {error} {sent:?}", self.name);
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Writes a build context instead: a Dockerfile and the files that it copies. `None` as [`Image::make`].
    pub fn write_context(&self, folder: &Path) -> Option<()> {
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::copy(program()?, folder.join("program")).expect("the program can be copied");
        let mut dockerfile = "FROM scratch\nCOPY program /program\n".to_owned();
        for (path, content) in &self.files {
            let target = folder.join(path);
            fs::create_dir_all(target.parent().expect("a file has a folder"))
                .expect("the folder can be made");
            fs::write(target, content).expect("the file can be written");
            writeln!(dockerfile, "COPY {path} /{path}").expect("a string takes everything");
        }
        for line in &self.instructions {
            writeln!(dockerfile, "{line}").expect("a string takes everything");
        }
        fs::write(folder.join("Dockerfile"), dockerfile).expect("the Dockerfile can be written");
        Some(())
    }

    fn archive(&self, program: &Path) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, mode: u32, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_mtime(1);
            archive.append_data(&mut header, path, content)
        };
        add("program", 0o755, &fs::read(program)?)?;
        for (path, content) in &self.files {
            add(path, 0o644, content)?;
        }
        archive.into_inner()
    }
}
