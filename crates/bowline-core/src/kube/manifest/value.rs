//! What a document means, as JSON: keys that are text, aliases followed, `<<` taken over.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::ScalarStyle;
use serde_json::{Map, Number, Value};

use super::brief;
use super::document::{Content, DEPTH, Documents, Mark, Node, NodeId, Note};
use super::scalar::{Scalar, resolve};

/// How many values aliases may add to a file, and how many bytes of text: enough for any honest template, and far from
/// what a text of a few lines can be made to unfold to.
const ALIASED_VALUES: usize = 100_000;
const ALIASED_BYTES: usize = 8 << 20;

const YAML: &str = "tag:yaml.org,2002:";

/// Turns documents into values. What aliases add is counted over all of them.
pub(in crate::kube) struct Reader<'d, 't> {
    documents: &'d Documents<'t>,
    /// What cannot be turned into JSON, or must not.
    pub(in crate::kube) problems: Vec<Note>,
    /// What is read otherwise than it looks.
    pub(in crate::kube) warnings: Vec<Note>,
    /// How many aliases lead to where it reads.
    aliases: usize,
    depth: usize,
    values: usize,
    bytes: usize,
    /// A limit was met: nothing more is read.
    stopped: bool,
}

impl<'d, 't> Reader<'d, 't> {
    pub(in crate::kube) fn new(documents: &'d Documents<'t>) -> Self {
        let (problems, warnings) = (Vec::new(), Vec::new());
        Self { documents, problems, warnings, aliases: 0, depth: 0, values: 0, bytes: 0, stopped: false }
    }

    /// The value of a node. Where a problem is told, something stands in for what is missing.
    pub(in crate::kube) fn read(&mut self, id: NodeId) -> Value {
        let documents = self.documents;
        let Some(node) = documents.node(id).filter(|_| !self.stopped) else { return Value::Null };
        self.charge(node);
        if self.depth >= DEPTH {
            self.stop(node.at, format!("values lie within each other more than {DEPTH} deep here"));
            return Value::Null;
        }
        self.depth += 1;
        let value = match &node.content {
            Content::Scalar(text, style) => self.scalar(node, text, *style),
            Content::Sequence(items) => Value::Array(items.iter().map(|item| self.read(*item)).collect()),
            Content::Mapping(entries) => Value::Object(self.mapping(entries)),
            Content::Alias(target) => {
                self.aliases += 1;
                let value = self.read(*target);
                self.aliases -= 1;
                value
            }
        };
        self.depth -= 1;
        value
    }

    fn charge(&mut self, node: &Node<'_>) {
        if self.aliases == 0 {
            return;
        }
        self.values += 1;
        if let Content::Scalar(text, _) = &node.content {
            self.bytes += text.len();
        }
        if self.values > ALIASED_VALUES || self.bytes > ALIASED_BYTES {
            let limit = format!("{ALIASED_VALUES} values or {} MiB", ALIASED_BYTES >> 20);
            self.stop(node.at, format!("aliases repeat more than {limit}, this among them"));
        }
    }

    fn stop(&mut self, at: Mark, message: String) {
        if !self.stopped {
            self.problem(at, message);
        }
        self.stopped = true;
    }

    fn problem(&mut self, at: Mark, message: impl Into<String>) {
        self.problems.push(Note::new(at, message));
    }

    fn mapping(&mut self, entries: &[(NodeId, NodeId)]) -> Map<String, Value> {
        let mut map = Map::new();
        let mut written: BTreeMap<String, Mark> = BTreeMap::new();
        for (key, value) in entries {
            if self.stopped {
                break;
            }
            let Some(at) = self.documents.node(*key).map(|node| node.at) else { continue };
            if self.documents.is_merge(*key) {
                self.merge(*value, at, &mut map, &written);
                continue;
            }
            let Some(name) = self.key(*key, at) else { continue };
            if let Some(first) = written.get(&name) {
                let Mark { line, column } = *first;
                let name = brief(&name);
                self.problem(
                    at,
                    format!("`{name}` stands here a second time, first at line {line}, column {column}"),
                );
                continue;
            }
            let value = self.read(*value);
            written.insert(name.clone(), at);
            map.insert(name, value);
        }
        map
    }

    /// Takes over other mappings' entries. kubectl lets what comes later win, also where that is `<<`; YAML's own rule is
    /// that what is written in the mapping wins.
    fn merge(
        &mut self,
        from: NodeId,
        at: Mark,
        map: &mut Map<String, Value>,
        written: &BTreeMap<String, Mark>,
    ) {
        let documents = self.documents;
        let sources = match documents.resolved(from).map(|(_, node)| &node.content) {
            // The first of them counts most.
            Some(Content::Sequence(items)) => items.iter().rev().copied().collect(),
            _ => vec![from],
        };
        for source in sources {
            let Value::Object(source) = self.read(source) else {
                if !self.stopped {
                    self.problem(at, "`<<` takes a mapping, or a list of mappings");
                }
                return;
            };
            for (name, value) in source {
                if written.contains_key(&name) && map.get(&name) != Some(&value) {
                    let name = brief(&name);
                    let message = format!(
                        "`<<` replaces `{name}`, which is written above it: kubectl reads it so; `<<` belongs first"
                    );
                    self.warnings.push(Note::new(at, message));
                }
                map.insert(name, value);
            }
        }
    }

    fn key(&mut self, id: NodeId, at: Mark) -> Option<String> {
        let documents = self.documents;
        let (_, node) = documents.resolved(id)?;
        let Content::Scalar(text, style) = &node.content else {
            self.problem(at, "a key is text, not a list or a mapping");
            return None;
        };
        let name = match self.scalar(node, text, *style) {
            Value::String(name) => return Some(name),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.problem(at, "a key is text, not null");
                return None;
            }
        };
        if name != *text {
            let message = format!("the key `{}` is read as `{name}`: quote it if it is text", brief(text));
            self.warnings.push(Note::new(at, message));
        }
        Some(name)
    }

    fn scalar(&mut self, node: &Node<'_>, text: &str, style: ScalarStyle) -> Value {
        let Some(tag) = &node.tag else {
            return match style {
                ScalarStyle::Plain => self.plain(resolve(text), text, node.at),
                _ => Value::from(text),
            };
        };
        let (fits, kind): (fn(Scalar) -> bool, &str) = match tag.strip_prefix(YAML) {
            Some("null") => (|scalar| scalar == Scalar::Null, "null"),
            Some("bool") => (|scalar| matches!(scalar, Scalar::Bool(_)), "a boolean"),
            Some("int") => {
                (|scalar| matches!(scalar, Scalar::Int(_) | Scalar::Unsigned(_)), "a whole number")
            }
            Some("float") => (
                |scalar| matches!(scalar, Scalar::Int(_) | Scalar::Unsigned(_) | Scalar::Float(_)),
                "a number",
            ),
            Some("binary") => {
                let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                let bytes = STANDARD.decode(packed).ok();
                return match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                    Some(text) => Value::from(text),
                    None => {
                        self.problem(node.at, "`!!binary` holds base64 of text here");
                        Value::Null
                    }
                };
            }
            // Any other tag leaves text as it is.
            _ => return Value::from(text),
        };
        let scalar = resolve(text);
        if !fits(scalar) {
            self.problem(node.at, format!("this is tagged as {kind} and is none"));
            return Value::Null;
        }
        self.plain(scalar, text, node.at)
    }

    fn plain(&mut self, scalar: Scalar, text: &str, at: Mark) -> Value {
        match scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::from(value),
            Scalar::Int(value) => Value::from(value),
            Scalar::Unsigned(value) => Value::from(value),
            Scalar::Text => Value::from(text),
            Scalar::Float(value) => match number(value) {
                Some(number) => Value::Number(number),
                None => {
                    self.problem(at, "no JSON holds this number: quote it if it is text");
                    Value::Null
                }
            },
        }
    }
}

/// A float as JSON: a whole one without a fraction, as Go writes it, because the API takes no `5.0` for a whole number.
fn number(value: f64) -> Option<Number> {
    // The largest float below which every whole number is one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return format!("{value:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> (Vec<Value>, Vec<Note>, Vec<Note>) {
        let documents = Documents::parse(text);
        assert_eq!(documents.errors, []);
        let mut reader = Reader::new(&documents);
        let values = documents.roots.iter().map(|root| reader.read(*root)).collect();
        (values, reader.problems, reader.warnings)
    }

    #[test]
    fn documents_mean_what_kubectl_takes_them_for() {
        for (text, expected) in [
            (
                "a: yes\nb: 'yes'\nc: 0644\nd: \"0644\"\ne:\n",
                json!({"a": true, "b": "yes", "c": 420, "d": "0644", "e": null}),
            ),
            ("1: a\n'2': b\nmode: 1e3\n", json!({"1": "a", "2": "b", "mode": 1000})),
            (
                "a: !!str 123\nb: !!int '7'\nc: !x 1\nd: !!binary aGV5\ne: ! 5\n",
                json!({"a": "123", "b": 7, "c": "1", "d": "hey", "e": "5"}),
            ),
            (
                "x: &x {a: 1, b: 2}\nw:\n  <<: *x\n  b: 3\n",
                json!({"x": {"a": 1, "b": 2}, "w": {"a": 1, "b": 3}}),
            ),
            (
                "x: &x {a: 1}\nz: &z {a: 2, b: 2}\nw:\n  <<: [*x, *z]\n",
                json!({"x": {"a": 1}, "z": {"a": 2, "b": 2}, "w": {"a": 1, "b": 2}}),
            ),
            ("x: &x [1, 2]\nw: *x\n", json!({"x": [1, 2], "w": [1, 2]})),
            ("a: |\n  one\n  two\nb: >-\n  one\n  two\n", json!({"a": "one\ntwo\n", "b": "one two"})),
            ("a: 2001-12-14\nb: 1.5\nc: 12:30\n", json!({"a": "2001-12-14", "b": 1.5, "c": "12:30"})),
        ] {
            let (values, problems, warnings) = read(text);
            assert_eq!(values, [expected], "{text}");
            assert_eq!((problems, warnings), (vec![], vec![]), "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_said_with_both_places() {
        let (_, problems, _) = read("a:\n  b: 1\n  c: 2\n  b: 3\n1: x\n'1': y\n");
        assert_eq!(
            problems,
            [
                Note::new(
                    Mark { line: 4, column: 3 },
                    "`b` stands here a second time, first at line 2, column 3"
                ),
                Note::new(
                    Mark { line: 6, column: 1 },
                    "`1` stands here a second time, first at line 5, column 1"
                ),
            ]
        );
    }

    #[test]
    fn what_json_cannot_hold_is_said() {
        for text in ["a: .nan\n", "? [a]\n: 1\n", "~: 1\n", "a: !!int x\n", "a: !!binary '%'\n", "<<: 1\n"] {
            let (_, problems, _) = read(text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        }
    }

    #[test]
    fn what_is_read_otherwise_than_it_looks_is_said() {
        let (values, _, warnings) = read("x: &x {a: 1}\nw:\n  a: 2\n  <<: *x\non: push\n");
        assert_eq!(values, [json!({"x": {"a": 1}, "w": {"a": 1}, "true": "push"})]);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn bombs_do_not_go_off() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let long = "x".repeat(1 << 20);
        let wide = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
        let nest = |inner: &str| format!("{}{inner}{}", "[".repeat(60), "]".repeat(60));
        let deep = format!("a: &a {}\nb: &b {}\nc: &c {}\n", nest(""), nest("*a"), nest("*b"));
        for text in [bomb, wide, deep] {
            let (_, problems, _) = read(&text);
            assert_eq!(problems.len(), 1, "{problems:?}");
        }
    }
}
