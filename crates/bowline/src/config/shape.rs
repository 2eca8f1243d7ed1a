//! The check of the file's shape against its schema: unknown keys, wrong types, numbers and words out of range.
//!
//! Every problem is told, not only the first one. What is wrong is taken out of the tree, so that the rest can be read
//! and checked for what it means.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Problem, Purpose, nearest};

/// Takes out of the document what its schema does not allow, and tells what that was.
pub(super) fn prune(document: &mut DeTable<'_>, schema: &Value) -> Vec<Problem> {
    let mut shape = Shape { root: schema, problems: Vec::new() };
    shape.table(schema, document, "");
    shape.problems
}

struct Shape<'s> {
    root: &'s Value,
    problems: Vec<Problem>,
}

impl<'s> Shape<'s> {
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.root.pointer(reference.trim_start_matches('#')))
            .unwrap_or(schema)
    }

    /// Whether the value may stay. `path` is where it stands, for messages: `services.user.port`.
    fn value(&mut self, schema: &'s Value, value: &mut Spanned<DeValue<'_>>, path: &str) -> bool {
        let schema = self.resolve(schema);
        let span = value.span();
        let expected = types(schema);
        let found = value.get_ref();
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            let fitting = options.iter().find(|option| accepts(&types(self.resolve(option)), found));
            return match fitting {
                Some(option) => self.value(option, value, path),
                None => {
                    let expected: Vec<&str> =
                        options.iter().flat_map(|option| types(self.resolve(option))).collect();
                    self.mistyped(&span, &expected, found, path)
                }
            };
        }
        if !accepts(&expected, found) {
            return self.mistyped(&span, &expected, found, path);
        }
        match value.get_mut() {
            DeValue::Table(table) => {
                self.table(schema, table, path);
                true
            }
            DeValue::Array(items) => {
                let Some(item_schema) = schema.get("items") else { return true };
                let all = std::mem::replace(items, DeArray::new());
                for mut item in all {
                    if self.value(item_schema, &mut item, path) {
                        items.push(item);
                    }
                }
                true
            }
            DeValue::String(text) => self.word(schema, &span, text, path),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                self.number(schema, &span, number, path)
            }
            _ => true,
        }
    }

    fn table(&mut self, schema: &'s Value, table: &mut DeTable<'_>, path: &str) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, mut value) in std::mem::take(table) {
            let name = key.get_ref().as_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let stays = match (properties.and_then(|known| known.get(name)), others) {
                (Some(schema), _) => self.value(schema, &mut value, &path),
                (None, Some(schema @ Value::Object(_))) => self.value(schema, &mut value, &path),
                (None, _) => {
                    let known = properties.into_iter().flat_map(|known| known.keys()).map(String::as_str);
                    self.unknown(&key.span(), name, &path, known.collect());
                    false
                }
            };
            if stays {
                table.insert(key, value);
            }
        }
    }

    fn tell(&mut self, problem: Problem, path: &str) {
        self.problems.push(Problem { purpose: Purpose::of(path), ..problem });
    }

    fn unknown(&mut self, span: &Range<usize>, name: &str, path: &str, known: Vec<&str>) {
        let place = path.rsplit_once('.').map_or("bowline.toml".into(), |(table, _)| format!("[{table}]"));
        let problem = Problem::new(
            span,
            format!("`{name}` is not a key of {place}"),
            nearest(name, known.iter().copied())
                .map_or("unknown key".into(), |near| format!("did you mean `{near}`?")),
        );
        let problem = problem.help(format!("its keys are {}", known.join(", ")));
        self.tell(Problem { unknown: true, ..problem }, path);
    }

    fn mistyped(&mut self, span: &Range<usize>, expected: &[&str], found: &DeValue<'_>, path: &str) -> bool {
        let wanted = expected.iter().map(|name| in_words(name)).collect::<Vec<_>>().join(" or ");
        let problem = Problem::new(
            span,
            format!("`{path}` is {wanted}"),
            format!("this is {}", in_words(found.type_str())),
        );
        let help = match found {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) if expected.contains(&"string") => {
                Some("put it in quotes".to_owned())
            }
            DeValue::String(text) if text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() => {
                Some(format!("leave out the quotes: {text}"))
            }
            DeValue::String(text) if expected.contains(&"array") => {
                Some(format!("put it in brackets: [{:?}]", text.as_ref()))
            }
            _ => None,
        };
        self.tell(Problem { help, ..problem }, path);
        false
    }

    /// A word of a closed list: `enum`, or `oneOf` with a `const` each.
    fn word(&mut self, schema: &Value, span: &Range<usize>, text: &str, path: &str) -> bool {
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let words: Vec<&str> =
            listed.chain(described.filter_map(|one| one.get("const"))).filter_map(Value::as_str).collect();
        if words.is_empty() || words.contains(&text) {
            return true;
        }
        let label = nearest(text, words.iter().copied())
            .map_or_else(|| "not one of them".into(), |near| format!("did you mean `{near}`?"));
        let message = format!("`{path}` is one of {}", words.join(", "));
        self.tell(Problem::new(span, message, label), path);
        false
    }

    fn number(&mut self, schema: &Value, span: &Range<usize>, number: Option<i64>, path: &str) -> bool {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        // Not exact above 2^53, where no bound of ours lies.
        #[allow(clippy::cast_precision_loss)]
        let fits = number.is_some_and(|number| {
            let number = number as f64;
            bound("minimum").is_none_or(|least| number >= least)
                && bound("maximum").is_none_or(|most| number <= most)
        });
        let bound_in_words = match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("between {least} and {most}"),
            (Some(least), None) => format!("at least {least}"),
            _ => "smaller".into(),
        };
        if !fits {
            let message = format!("`{path}` is a whole number, {bound_in_words}");
            self.tell(Problem::new(span, message, "out of range"), path);
        }
        fits
    }
}

/// The JSON types that a schema allows; none means all.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("oneOf").is_some() => vec!["string"],
        _ => Vec::new(),
    }
}

fn accepts(types: &[&str], value: &DeValue<'_>) -> bool {
    let own: &[&str] = match value {
        DeValue::String(_) => &["string"],
        DeValue::Integer(_) => &["integer", "number"],
        DeValue::Float(_) => &["number"],
        DeValue::Boolean(_) => &["boolean"],
        DeValue::Datetime(_) => &[],
        DeValue::Array(_) => &["array"],
        DeValue::Table(_) => &["object"],
    };
    types.is_empty() || types.iter().any(|name| own.contains(name))
}

/// JSON's and TOML's names of types, in words.
fn in_words(name: &str) -> &str {
    match name {
        "string" => "a text in quotes",
        "integer" => "a whole number",
        "number" | "float" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" | "table" => "a table",
        "datetime" => "a date",
        other => other,
    }
}
