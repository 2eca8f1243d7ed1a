//! What the tests share.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::image::Platform;
use bowline_core::reference::Repository;
use bowline_oci::assemble::{Image, assemble};
use bowline_oci::context::Context;
use bowline_oci::credential::Credentials;
use bowline_oci::dockerfile;
use bowline_oci::push::{Item, Observer};
use bowline_oci::registry::{Client, Options};
use bowline_oci::store::Store;

/// A client without logins that loses its patience soon.
pub(crate) fn client() -> Client {
    Client::new(options()).unwrap()
}

pub(crate) fn options() -> Options {
    Options {
        credentials: Credentials::none(),
        idle: Duration::from_secs(5),
        patience: Duration::from_secs(10),
        ..Options::default()
    }
}

pub(crate) fn platform() -> Platform {
    Platform::linux(std::env::consts::ARCH)
}

pub(crate) fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

/// A push that nobody watches.
pub(crate) fn quiet() -> Observer {
    Arc::new(|_| {})
}

/// Assembles the Dockerfile of a context that is `FROM scratch`.
pub(crate) fn build_scratch(store: &Store, context: &Path) -> Image {
    let file = context.join("Dockerfile");
    let text = std::fs::read_to_string(&file).unwrap();
    let recipe = dockerfile::parse(&text, None, &BTreeMap::new(), &platform()).unwrap();
    assemble(store, &recipe, &Context::open(context, &file).unwrap(), None).unwrap()
}

/// An image of one file with this content.
pub(crate) fn image_of(store: &Store, home: &Path, content: &[u8]) -> Image {
    let context = home.join(format!("context-{}", content.len()));
    write(&context, "Dockerfile", b"FROM scratch\nCOPY data /data\n");
    write(&context, "data", content);
    build_scratch(store, &context)
}

/// Bytes that do not compress.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub(crate) fn item(name: &str, image: &Image, tag: &str) -> Item {
    Item { name: name.into(), image: image.clone(), base: None, tags: vec![tag.into()] }
}

/// What a command printed; panics with all of it where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
    out.into_owned()
}

/// Writes a file and the directories above it.
pub(crate) fn write(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// An error with everything behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
