//! The target in bowline.toml.

use bowline_core::kube::translation::{Remark, Translation};
use toml_edit::{Array, DocumentMut, Item, Value};

use crate::config::{Config, FILE, KubernetesTarget};
use crate::error::{Failure, Outcome};

/// The text of bowline.toml with the target at its end, and with the names of images that no service claims yet. Comments
/// and order stay.
///
/// # Errors
/// When the file cannot be edited: it says why.
pub(super) fn edit(
    config: &Config,
    target: &str,
    folder: &str,
    namespace: &str,
    translation: &Translation,
) -> Outcome<String> {
    let mut text = claim(config, translation)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let quoted = |text: &str| Value::from(text).to_string().trim().to_owned();
    let key = |text: &str| toml_edit::Key::new(text).to_string();
    text.push_str(&format!(
        "\n[targets.{}]\nkubernetes = [{}]\nnamespace = {}\n# context = \"…\"   # of the kubeconfig; its current one, unless it is named\n",
        key(target),
        quoted(&format!("{folder}/")),
        quoted(namespace)
    ));
    if !translation.secrets.is_empty() {
        text.push_str("\n# Made at each deploy from what is found there then; `file:PATH` and `command:…` do as well.\n");
    }
    for (name, keys) in &translation.secrets {
        text.push_str(&format!("[targets.{}.secrets.{}]\ndata = {{ ", key(target), key(name)));
        let pairs: Vec<String> =
            keys.iter().map(|(name, source)| format!("{} = {}", key(name), quoted(source))).collect();
        text.push_str(&pairs.join(", "));
        text.push_str(" }\n");
    }
    // What is written can be read.
    Config::parse(&text, &config.directory).map_err(|failure| {
        Failure::invalid(format!("adding [targets.{target}] to {FILE}")).since(failure.to_string())
    })?;
    Ok(text)
}

/// Manifests are told apart by the names of images alone: a service that was found by its own name claims the image.
fn claim(config: &Config, translation: &Translation) -> Outcome<String> {
    let failure = || Failure::invalid(format!("editing {FILE}"));
    let mut document: DocumentMut = config.text.parse().map_err(|error| failure().because(&error))?;
    for (name, image) in &translation.images {
        let unclaimed = config.services.get(name.as_str()).is_some_and(|service| service.images.is_empty());
        let of_another = image.parse().is_ok_and(|image| config.service_of(&image).is_some());
        let table = document.get_mut("services").and_then(|services| services.get_mut(name));
        if let (true, false, Some(table)) = (unclaimed, of_another, table.and_then(Item::as_table_like_mut)) {
            let mut images = Array::new();
            images.push(image.as_str());
            table.insert("images", Item::Value(Value::Array(images)));
        }
    }
    Ok(document.to_string())
}

/// Secrets that manifests refer to and a target that is there already does not make.
pub(super) fn missing(target: &KubernetesTarget, translation: &Translation) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (name, keys) in &translation.secrets {
        for (key, source) in keys {
            if !target.secrets.get(name).is_some_and(|there| there.data.contains_key(key)) {
                let text = format!(
                    "add to [targets.{}.secrets.{name}] in {FILE}: {key} = \"{source}\"",
                    target.name
                );
                remarks.push(Remark { service: None, text, unsure: true });
            }
        }
    }
    remarks
}
