//! Objects as people write them: keys in their order, block style, and a remark above what it is about.
//!
//! What is written means the same to every reader: a text that any of them takes for something else is quoted.

use serde_json::{Map, Value};

use crate::kube::manifest::scalar::{Scalar, resolve};

/// Where remarks are broken, in characters from the margin.
const WIDTH: usize = 110;
/// The longest list that stands in one line.
const LINE: usize = 90;

/// A mapping, and what is said about its keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    map: Map<String, Value>,
    /// JSON pointers below this mapping, with what stands above them.
    notes: Vec<(String, String)>,
}

impl Node {
    /// An object of the API.
    pub fn object(api_version: &str, kind: &str, name: &str) -> Self {
        let mut node = Self::default();
        node.set("apiVersion", api_version);
        node.set("kind", kind);
        let mut metadata = Self::default();
        metadata.set("name", name);
        node.put("metadata", metadata);
        node
    }

    /// Sets a key.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.map.insert(key.into(), value.into());
    }

    /// Sets a key where there is a value.
    pub fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Says something about a key.
    pub fn note(&mut self, key: &str, text: impl Into<String>) {
        self.notes.push((format!("/{}", escape(key)), text.into()));
    }

    /// Says something about all of it, above its first key.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.notes.push((String::new(), text.into()));
    }

    /// Sets a key to another mapping, with what is said there. Nothing where that is empty.
    pub fn put(&mut self, key: &str, node: Self) {
        if node.map.is_empty() {
            return;
        }
        let at = format!("/{}", escape(key));
        self.notes.extend(node.notes.into_iter().map(|(below, text)| (format!("{at}{below}"), text)));
        self.map.insert(key.into(), Value::Object(node.map));
    }

    /// Sets a key to a list of mappings. Nothing where that is empty.
    pub fn list(&mut self, key: &str, nodes: Vec<Self>) {
        if nodes.is_empty() {
            return;
        }
        let mut items = Vec::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let at = format!("/{}/{index}", escape(key));
            self.notes.extend(node.notes.into_iter().map(|(below, text)| (format!("{at}{below}"), text)));
            items.push(Value::Object(node.map));
        }
        self.map.insert(key.into(), Value::Array(items));
    }

    /// Takes over all of another mapping.
    pub fn merge(&mut self, other: Self) {
        self.map.extend(other.map);
        self.notes.extend(other.notes);
    }

    /// The mapping of a key, to be added to.
    pub fn child(&mut self, key: &str) -> Option<&mut Map<String, Value>> {
        self.map.get_mut(key).and_then(Value::as_object_mut)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// What it means, without what is said.
    pub fn value(&self) -> Value {
        Value::Object(self.map.clone())
    }

    /// As a document of YAML.
    pub fn render(&self) -> String {
        let mut page = Page { text: String::new(), notes: &self.notes };
        page.notes("", 0);
        page.map(&self.map, "", 0);
        page.text
    }
}

/// Lines of remarks.
fn comment(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    for paragraph in text.lines() {
        let mut line = format!("{:indent$}#", "");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH && !line.ends_with('#') {
                lines.push_str(&line);
                lines.push('\n');
                line = format!("{:indent$}#", "");
            }
            line.push(' ');
            line.extend(word.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }));
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

struct Page<'n> {
    text: String,
    notes: &'n [(String, String)],
}

impl Page<'_> {
    fn notes(&mut self, pointer: &str, indent: usize) {
        for (_, text) in self.notes.iter().filter(|(at, _)| at == pointer) {
            self.text.push_str(&comment(text, indent));
        }
    }

    fn map(&mut self, map: &Map<String, Value>, pointer: &str, indent: usize) {
        for (key, value) in map {
            let at = format!("{pointer}/{}", escape(key));
            self.notes(&at, indent);
            self.text.push_str(&format!("{:indent$}", ""));
            self.entry(key, value, &at, indent);
        }
    }

    /// `key: value`, from where the line has come to.
    fn entry(&mut self, key: &str, value: &Value, at: &str, indent: usize) {
        self.text.push_str(&scalar(key));
        self.text.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.text.push('\n');
                self.map(map, at, indent + 2);
            }
            Value::Array(items) => match flow(items) {
                Some(line) => self.text.push_str(&format!(" {line}\n")),
                None => {
                    self.text.push('\n');
                    self.list(items, at, indent + 2);
                }
            },
            Value::String(text) => match block(text, indent + 2) {
                Some(block) => self.text.push_str(&format!(" {block}")),
                None => self.text.push_str(&format!(" {}\n", scalar(text))),
            },
            other => self.text.push_str(&format!(" {other}\n")),
        }
    }

    fn list(&mut self, items: &[Value], pointer: &str, indent: usize) {
        for (index, item) in items.iter().enumerate() {
            let at = format!("{pointer}/{index}");
            self.notes(&at, indent);
            let Value::Object(map) = item else {
                let line = match item {
                    Value::String(text) => scalar(text),
                    // JSON is YAML.
                    other => other.to_string(),
                };
                self.text.push_str(&format!("{:indent$}- {line}\n", ""));
                continue;
            };
            let mut entries = map.iter();
            let Some((key, value)) = entries.next() else {
                self.text.push_str(&format!("{:indent$}- {{}}\n", ""));
                continue;
            };
            let first = format!("{at}/{}", escape(key));
            self.notes(&first, indent);
            self.text.push_str(&format!("{:indent$}- ", ""));
            self.entry(key, value, &first, indent + 2);
            for (key, value) in entries {
                let below = format!("{at}/{}", escape(key));
                self.notes(&below, indent + 2);
                self.text.push_str(&format!("{:1$}", "", indent + 2));
                self.entry(key, value, &below, indent + 2);
            }
        }
    }
}

/// A short list of scalars in one line.
fn flow(items: &[Value]) -> Option<String> {
    let words: Option<Vec<String>> = items
        .iter()
        .map(|item| match item {
            Value::String(text) => Some(quoted(text)),
            Value::Object(_) | Value::Array(_) => None,
            other => Some(other.to_string()),
        })
        .collect();
    let line = format!("[{}]", words?.join(", "));
    (line.chars().count() <= LINE).then_some(line)
}

/// A text in one line.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.into() } else { quoted(text) }
}

/// Whether a text means itself without quotes, to every reader.
fn is_plain(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-./:@+,=()^$ ".contains(c);
    let Some(first) = text.chars().next() else { return false };
    let begins = first.is_ascii_alphabetic() || first == '/' || first == '_';
    // Readers of YAML 1.1 take some of these for dates, times and numbers.
    let number = first.is_ascii_digit()
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && !text.contains(['-', ':', '_', '+', ' ', ',']);
    (begins || number)
        && text.chars().all(legal)
        && !text.contains(": ")
        && !text.contains("  ")
        && !text.ends_with([':', ' '])
        && resolve(text) == Scalar::Text
}

/// A text in double quotes (YAML 1.2, section 7.3.1).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if is_printable(c) => quoted.push(c),
            c if u32::from(c) <= 0xff => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a character may stand in a file as it is (YAML 1.2, section 5.1), and is seen there.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(u32::from(c), 0x2028 | 0x2029 | 0xfeff | 0xfffe | 0xffff | 0x200b..=0x200f | 0x202a..=0x202e)
}

/// Several lines as they are (YAML 1.2, section 8.1.2), where that is safe.
fn block(text: &str, indent: usize) -> Option<String> {
    let body = text.trim_end_matches('\n');
    let safe = |c: char| c == '\n' || c == '\t' || is_printable(c);
    if !text.contains('\n')
        || body.is_empty()
        || text.starts_with([' ', '\t', '\n'])
        || !text.chars().all(safe)
    {
        return None;
    }
    let ending = text.len() - body.len();
    let mark = match ending {
        0 => "|-",
        1 => "|",
        _ => "|+",
    };
    let mut lines = format!("{mark}\n");
    for line in body.split('\n') {
        if !line.is_empty() {
            lines.push_str(&format!("{:indent$}{line}", ""));
        }
        lines.push('\n');
    }
    lines.push_str(&"\n".repeat(ending.saturating_sub(1)));
    Some(lines)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kube::manifest::read;

    /// The object as a cluster would get it.
    fn reread(node: &Node) -> Value {
        let text = node.render();
        let files = BTreeMap::from([("a.yaml".to_owned(), text.clone())]);
        let mut reading = read(&files, Some("n"), |_| None);
        assert_eq!(reading.problems, [], "{text}");
        assert_eq!(reading.warnings, [], "{text}");
        let mut value = reading.manifests.remove(0).value;
        value["metadata"].as_object_mut().unwrap().remove("namespace");
        value
    }

    fn of(data: Value) -> Node {
        let mut node = Node::object("v1", "ConfigMap", "a");
        node.set("data", data);
        node
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        let odd = [
            "",
            "~",
            "yes",
            "No",
            "on",
            "null",
            "0644",
            "1e3",
            "12:30:45",
            "2001-12-14",
            "1_000",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "%",
            "@",
            "`",
            "{",
            "[",
            "'a'",
            "\"a\"",
            "a:",
            " a",
            "a ",
            "?",
            "=",
            "<<",
            "a\\b",
            "$(A)",
            "\u{85}",
            "\u{2028}",
            "\u{feff}x",
            "\u{0}",
            "a\tb",
            "a\r\nb",
            "0x1f",
            ".5",
            "é",
            "true",
            "512Mi",
            "3.1.4",
            "--",
            "---",
            "...",
            "a, b",
            "1,2",
            "16_384",
            "1-2",
            "٣",
        ];
        let data: Map<String, Value> =
            odd.iter().enumerate().map(|(n, text)| (format!("k{n}"), json!(text))).collect();
        let node = of(Value::Object(data));
        assert_eq!(reread(&node), node.value(), "{}", node.render());
        let keys: Map<String, Value> = odd.iter().map(|text| ((*text).to_owned(), json!("x"))).collect();
        let node = of(Value::Object(keys));
        assert_eq!(reread(&node), node.value(), "{}", node.render());
        let node =
            of(json!({"list": odd.to_vec(), "short": ["yes", "1", "a, b"], "numbers": [1, true, null]}));
        assert_eq!(reread(&node), node.value(), "{}", node.render());
    }

    #[test]
    fn what_is_said_stands_above_what_it_is_about() {
        let mut container = Node::default();
        container.set("name", "app");
        container.set("args", json!(["-p", "80"]));
        container.note("name", "one");
        container.note("args", "two");
        let mut spec = Node::default();
        spec.list("containers", vec![container]);
        let mut node = Node::object("v1", "Pod", "a");
        node.remark("all of it");
        node.put("spec", spec);
        let text = "# all of it\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n    # one\n    - name: app\n      # two\n      args: [\"-p\", \"80\"]\n";
        assert_eq!(node.render(), text);
    }

    #[test]
    fn files_stay_readable() {
        let node = of(
            json!({"nginx.conf": "server {\n  listen 80;\n\n}\n", "raw": "a\nb", "open": "a\n\n\n", "z": "z"}),
        );
        let text = node.render();
        assert!(
            text.contains("  nginx.conf: |\n    server {\n      listen 80;\n\n    }\n  raw: |-\n"),
            "{text}"
        );
        assert_eq!(reread(&node), node.value(), "{text}");
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was(texts in prop::collection::vec("(?s)[ -~\n\t:#é\u{85}\u{1}]{0,12}|\\PC{0,8}", 1..6)) {
            let data: Map<String, Value> =
                texts.iter().enumerate().map(|(n, text)| (format!("k{n}"), json!(text))).collect();
            let node = of(Value::Object(data));
            prop_assert_eq!(reread(&node), node.value(), "{}", node.render());
            let node = of(json!({"list": texts, "maps": texts.iter().map(|t| json!({"a": t, "b": {"c": t}})).collect::<Vec<_>>()}));
            prop_assert_eq!(reread(&node), node.value(), "{}", node.render());
        }
    }
}
