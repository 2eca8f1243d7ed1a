//! Advice in bowline.toml: what the target needs differently, so that the next `plan` shows it.

use bowline_core::capacity::advice::{Advice, Amount, Line, Setting};
use toml_edit::{DocumentMut, Item, Table, Value, value};

use crate::config::{Config, FILE};
use crate::error::{Failure, Outcome};

/// The text of bowline.toml with the advice in it, under `[targets.TARGET.services.SERVICE]`. Comments and order stay.
/// What a Docker host cannot be told, processor time that is kept, is left out, and so is what is for people to do.
///
/// # Errors
/// When the file cannot be edited: it says why.
pub fn write(config: &Config, target: &str, advice: &[Advice]) -> Outcome<String> {
    let failure = || Failure::invalid(format!("writing advice into {FILE}"));
    let mut document: DocumentMut = config.text.parse().map_err(|error| failure().because(&error))?;
    for advice in advice {
        let written =
            |line: &&Line| matches!(line.setting, Setting::Memory | Setting::CpuLimit | Setting::Variable(_));
        for line in advice.lines.iter().filter(written) {
            let table = table(document.as_table_mut(), &["targets", target, "services", &advice.service])
                .ok_or_else(|| {
                    let name = format!("[targets.{target}.services.{}]", advice.service);
                    failure()
                        .since(format!("{name} is written in a form that cannot be added to"))
                        .hint(format!("write it as a table: {name}"))
                })?;
            set(table, line);
        }
    }
    let text = document.to_string();
    // What is written can be read.
    Config::parse(&text, &config.directory).map_err(|error| failure().since(error.to_string()))?;
    Ok(text)
}

/// A table below others, made where it is missing.
fn table<'t>(root: &'t mut Table, path: &[&str]) -> Option<&'t mut dyn toml_edit::TableLike> {
    let mut table: &mut dyn toml_edit::TableLike = root;
    for (depth, key) in path.iter().enumerate() {
        let missing = || {
            let mut made = Table::new();
            // `[targets]` alone says nothing.
            made.set_implicit(depth + 1 < path.len());
            Item::Table(made)
        };
        table = table.entry(key).or_insert_with(missing).as_table_like_mut()?;
    }
    Some(table)
}

fn set(table: &mut dyn toml_edit::TableLike, line: &Line) {
    let written: Value = match &line.advised {
        Amount::Bytes(bytes) => format!("{}M", bytes >> 20).into(),
        Amount::Text(text) => text.as_str().into(),
        Amount::Cores(cores) => (*cores as f64 / 1000.0).into(),
        Amount::Flag(_) => return,
    };
    match &line.setting {
        Setting::Memory => put(table, "memory", written),
        Setting::CpuLimit => put(table, "cpus", written),
        Setting::Variable(name) => {
            let env = table.entry("env").or_insert_with(|| value(toml_edit::InlineTable::new()));
            if let Some(env) = env.as_table_like_mut() {
                put(env, name, written);
            }
        }
        Setting::CpuRequest | Setting::Enabled => {}
    }
}

/// Sets a value; the comment behind the one that was there stays.
fn put(table: &mut dyn toml_edit::TableLike, key: &str, mut new: Value) {
    if let Some(Item::Value(there)) = table.get(key) {
        *new.decor_mut() = there.decor().clone();
    }
    table.insert(key, Item::Value(new));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bowline_core::capacity::profile::Window;

    use super::*;

    const BASE: &str = "[project]\nname = \"shop\"\n\n# The machine.\n[targets.box]\ncompose = \"compose.yaml\" # as it is\n";

    fn advice(service: &str, lines: &[(Setting, Amount)]) -> Advice {
        let line = |(setting, advised): &(Setting, Amount)| Line {
            setting: setting.clone(),
            now: None,
            advised: advised.clone(),
            why: String::new(),
            frees: None,
        };
        Advice {
            service: service.to_owned(),
            window: Window::default(),
            lines: lines.iter().map(line).collect(),
            doubts: Vec::new(),
        }
    }

    fn written(text: &str, advice: &[Advice]) -> Outcome<String> {
        write(&Config::parse(text, Path::new("/nowhere")).unwrap(), "box", advice)
    }

    #[test]
    fn advice_is_added_and_everything_else_stays() {
        let heap = Setting::Variable("JAVA_TOOL_OPTIONS".to_owned());
        let all = [
            advice(
                "user",
                &[
                    (Setting::CpuRequest, Amount::Cores(115)),
                    (Setting::CpuLimit, Amount::Cores(400)),
                    (Setting::Memory, Amount::Bytes(507 << 20)),
                    (heap.clone(), Amount::Text("-Xmx252m".to_owned())),
                ],
            ),
            advice("kafka2", &[(Setting::Enabled, Amount::Flag(false))]),
        ];
        let text = written(BASE, &all).unwrap();
        assert_eq!(
            text,
            format!(
                "{BASE}\n[targets.box.services.user]\ncpus = 0.4\nmemory = \"507M\"\nenv = {{ JAVA_TOOL_OPTIONS = \"-Xmx252m\" }}\n"
            )
        );
        // The same advice again changes nothing, another one only its value.
        assert_eq!(written(&text, &all).unwrap(), text);
        let text = text.replace("\"507M\"", "\"507M\" # measured");
        let more = written(&text, &[advice("user", &[(Setting::Memory, Amount::Bytes(600 << 20))])]).unwrap();
        assert_eq!(more, text.replace("507M", "600M"));
    }

    #[test]
    fn a_table_of_variables_is_added_to() {
        let base = format!("{BASE}\n[targets.box.services.user.env]\nA = \"b\"\n");
        let heap = Setting::Variable("JAVA_TOOL_OPTIONS".to_owned());
        let text = written(&base, &[advice("user", &[(heap, Amount::Text("-Xmx9m".to_owned()))])]).unwrap();
        assert_eq!(text, format!("{base}JAVA_TOOL_OPTIONS = \"-Xmx9m\"\n"));
    }
}
