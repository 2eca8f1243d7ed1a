//! What a Spring Boot application says about itself: its port and where its health is.

use serde_json::Value;

use super::place::within;
use super::tree::Tree;

/// What was read in an application's own configuration.
#[derive(Debug, Default)]
pub(super) struct Application {
    /// The server's port and the file that says so.
    pub(super) port: Option<(u16, String)>,
    /// Where management endpoints live, when on another port.
    pub(super) management_port: bool,
    context_path: Option<String>,
    base_path: Option<String>,
}

impl Application {
    /// The actuator's health path.
    pub(super) fn health(&self) -> String {
        let part = |text: &Option<String>, default: &str| {
            text.as_deref().unwrap_or(default).trim_end_matches('/').to_owned()
        };
        format!("{}{}/health", part(&self.context_path, ""), part(&self.base_path, "/actuator"))
    }
}

/// Reads `application.yml` and its likes in a module's resources.
pub(super) fn application(tree: &Tree, directory: &str) -> Application {
    let mut application = Application::default();
    for name in ["application.yml", "application.yaml", "application.properties"] {
        let path = within(directory, &format!("src/main/resources/{name}"));
        let Some(text) = tree.text(&path) else { continue };
        // The first document is the one without a profile.
        let documents: Vec<Value> = match name.ends_with("properties") {
            true => Vec::new(),
            false => serde_saphyr::from_multiple(text).unwrap_or_default(),
        };
        let nested = |key: &str| documents.iter().find_map(|document| setting(document, key));
        let look = |key: &str| if documents.is_empty() { property(text, key) } else { nested(key) };
        let port = look("server.port").and_then(|text| default(&text)?.parse().ok()).filter(|port| *port > 0);
        application.port = application.port.or(port.map(|port| (port, path.clone())));
        application.management_port |= look("management.server.port").is_some();
        application.context_path = application
            .context_path
            .or_else(|| look("server.servlet.context-path"))
            .or_else(|| look("spring.webflux.base-path"))
            .filter(|path| plain(path));
        application.base_path = application
            .base_path
            .or_else(|| look("management.endpoints.web.base-path"))
            .filter(|path| plain(path));
    }
    application
}

/// Whether a text is a path of a URL, without anything to be filled in.
fn plain(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '$' | '{'))
}

/// A value, or the default of a `${NAME:default}`.
fn default(text: &str) -> Option<String> {
    match text.strip_prefix("${") {
        Some(inside) => inside.strip_suffix('}')?.split_once(':').map(|(_, default)| default.to_owned()),
        None => Some(text.to_owned()),
    }
}

fn property(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(['=', ':'])?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// A setting by its dotted name, whether the file nests it or writes the dots.
fn setting(value: &Value, key: &str) -> Option<String> {
    let table = value.as_object()?;
    table.iter().find_map(|(name, value)| {
        if name == key {
            return match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
        }
        setting(value, key.strip_prefix(name.as_str())?.strip_prefix('.')?)
    })
}
