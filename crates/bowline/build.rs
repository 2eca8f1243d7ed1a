//! Builds the program that runs on Docker hosts, `bowline-gate`, as one static binary, and packs it: Bowline brings it to
//! the hosts itself, so that there is one thing to install.

// That is how a build script talks to cargo.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| env::var(name).map_err(|_| io::Error::other(format!("cargo sets no {name}")));
    let out = PathBuf::from(variable("OUT_DIR")?);
    let crates = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    for source in [
        "bowline-gate/src",
        "bowline-gate/Cargo.toml",
        "bowline-measurement/src",
        "bowline-measurement/Cargo.toml",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", crates.join(source).display());
    }
    let target = variable("TARGET")?;
    let packed = out.join("bowline-gate.gz");
    // Hosts run Linux. What is built elsewhere brings none, and says so where one is asked for.
    if !target.contains("-linux-") {
        fs::write(packed, [])?;
        return Ok(());
    }
    let binary = build(&variable("CARGO")?, &crates, &target, &out.join("gate"))?;
    let mut encoder = GzEncoder::new(File::create(packed)?, Compression::best());
    io::copy(&mut File::open(binary)?, &mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(())
}

/// Cargo again, in a directory of its own: the one of this build is locked while it runs.
fn build(cargo: &str, crates: &Path, target: &str, directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut command = Command::new(cargo);
    command
        .args(["build", "--package", "bowline-gate", "--bin", "bowline-gate", "--profile", "gate"])
        .args(["--locked", "--quiet", "--target", target])
        .arg("--target-dir")
        .arg(directory)
        .current_dir(crates)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    // What this build was told is not meant for that one: a linter in place of the compiler would build nothing.
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CLIPPY_ARGS", "CARGO_BUILD_TARGET"]
    {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_FEATURE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_PROFILE_")
        {
            command.env_remove(&name);
        }
    }
    if !command.status()?.success() {
        return Err("bowline-gate could not be built; see above".into());
    }
    Ok(directory.join(target).join("gate/bowline-gate"))
}
