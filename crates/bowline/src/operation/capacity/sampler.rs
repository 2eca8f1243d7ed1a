//! The program that measures a host: brought there, started, and asked.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use bowline_compose::engine::WantedSampler;
use bowline_core::digest::Digest;
use flate2::read::GzDecoder;
use serde_json::json;

use crate::error::{Failure, Outcome};
use crate::operation::host::Host;

/// The program, for hosts like this machine; empty where this Bowline was not built on Linux.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bowline-gate.gz"));
/// Its name in its image.
const PATH: &str = "bowline-gate";

/// How it is to measure.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How often.
    pub every: Duration,
    /// Where it answers Prometheus, if anywhere.
    pub prometheus: Option<SocketAddr>,
}

/// Makes sure that a host is measured in this manner. Says whether anything had to be done.
///
/// # Errors
/// When the host is of another architecture, or its engine refuses.
pub async fn start(host: &Host, manner: Manner) -> Outcome<bool> {
    let machine =
        host.engine.machine_without_disk().await.map_err(|error| host.failure("looking at", &error))?;
    let (there, here) = (machine.engine.platform.map(|platform| platform.architecture), architecture());
    if let Some(there) = there.filter(|there| *there != here) {
        return Err(Failure::invalid(format!("measuring {}", host.target))
            .since(format!("its processor is {there}, and this Bowline brings a program for {here}"))
            .hint(format!("run this from a machine with {there}")));
    }
    let wanted = wanted(manner)?;
    host.engine.start_sampler(&wanted).await.map_err(|error| host.failure("measuring", &error))
}

/// The processor of this machine, in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn wanted(manner: Manner) -> Outcome<WantedSampler> {
    let failure = || Failure::failed("unpacking the program that measures");
    if PROGRAM.is_empty() {
        return Err(failure().since("this Bowline was not built on Linux, and brings none"));
    }
    let mut program = Vec::new();
    GzDecoder::new(PROGRAM).read_to_end(&mut program).map_err(|error| failure().because(&error))?;
    let mut arguments: Vec<String> =
        ["sample", "--proc", "/host/proc", "--cgroup", "/host/cgroup"].map(str::to_owned).into();
    arguments.extend(["--every".to_owned(), format!("{}s", manner.every.as_secs())]);
    if let Some(address) = manner.prometheus {
        arguments.extend(["--prometheus".to_owned(), address.to_string()]);
    }
    let digest = Digest::of(&program);
    let image = format!("bowline.local/gate:{}", digest.short());
    let archive = archive(&program, &image).map_err(|error| failure().because(&error))?;
    let fingerprint = format!("{} {}", digest.short(), arguments.join(" "));
    Ok(WantedSampler { archive: archive.into(), image, arguments, fingerprint })
}

/// An image with nothing but the program, in the form that every `docker load` takes (Docker Image Specification v1.2,
/// "Combined Image JSON + Filesystem Changeset Format").
fn archive(program: &[u8], image: &str) -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, PATH, program, 0o555)?;
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": { "Entrypoint": [format!("/{PATH}")] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
    })
    .to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest =
        json!([{ "Config": config_name, "RepoTags": [image], "Layers": ["layer.tar"] }]).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, &config_name, config.as_bytes(), 0o444)?;
    append(&mut archive, "layer.tar", &layer, 0o444)?;
    append(&mut archive, "manifest.json", manifest.as_bytes(), 0o444)?;
    archive.into_inner()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], mode: u32) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}
