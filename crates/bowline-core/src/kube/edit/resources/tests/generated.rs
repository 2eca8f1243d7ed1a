//! Files of every shape, made at random.

use proptest::prelude::*;
use serde_json::Map;

use super::*;

/// How a generated file is written.
#[derive(Debug, Clone)]
struct Hand {
    step: usize,
    /// Whether sequences stand further in than their keys.
    indented: bool,
    dash: &'static str,
    newline: &'static str,
    ends: bool,
    comment: &'static str,
}

/// Lines of a container besides its name and resources, at its own indentation. `>` stands for a step.
const OTHERS: [&str; 7] = [
    "image: x",
    "# aside",
    "env:\n- name: A\n  value: 'b # c'\n  # - name: B",
    "livenessProbe:\n>httpGet: {path: /, port: 80}",
    "args:\n- |\n  limits\n\n  # text",
    "tty:",
    "command: [\n>a,\n  b ]",
];

/// Its resources, in which `R` and `L` stand for what is low enough and high enough.
const RESOURCES: [&str; 16] = [
    "",
    "resources:",
    "resources: # none",
    "resources: null",
    "resources: {}",
    "resources:\n>requests:\n>>cpu: R",
    "resources:\n>requests: # a\n>>memory: 'R' # b\n>>cpu: \"R\"\n>limits:\n>>memory: L",
    "resources:\n>limits: {cpu: L}",
    "resources: {requests: {}, limits: { memory: L }} # c",
    "resources: { requests: {cpu: R, x: 1}, claims: [] }",
    "resources:\n>limits:\n>requests: ~",
    "resources:\n># limits: c\n>requests:\n>># limits: d\n>>cpu: R # e\n>># limits: f",
    "resources: {\n>limits: {\n>>cpu: L\n>}, # limits:\n}",
    "\"resources\": {\"requests\": {\"cpu\": R}}",
    "resources:\n>requests: {memory: R,\n>>cpu: R} # limits:",
    "resources:\n  requests:\n     memory: R",
];

type Piece = (usize, Vec<usize>, bool, bool);

fn container(index: usize, (resources, others, name_first, flow): &Piece, hand: &Hand) -> String {
    let name = format!("name: c{index}");
    let resources = RESOURCES[*resources].replace('R', "1").replace('L', "8Gi");
    if *flow {
        let resources = if resources.is_empty() { String::new() } else { ", resources: {}".into() };
        return format!("{{ {name}{resources} }} # limits: f");
    }
    let mut lines = vec![name, resources];
    lines.extend(others.iter().map(|other| OTHERS[*other].to_owned()));
    if !name_first {
        // What comes first cannot be a comment, and no key stands twice.
        lines.rotate_left(1);
        if lines[0].is_empty() || lines[0].starts_with('#') {
            lines.rotate_right(1);
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n").replace('>', &" ".repeat(hand.step))
}

fn manifest(kind: usize, pieces: &[Piece], hand: &Hand) -> String {
    let (api, kind, path): (_, _, &[&str]) = [
        ("v1", "Pod", &["spec"][..]),
        ("apps/v1", "Deployment", &["spec", "template", "spec"]),
        ("batch/v1", "CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
    ][kind];
    let mut text = format!(
        "apiVersion: {api}{}\nkind: {kind}\nmetadata:\n{}name: a\n",
        hand.comment,
        " ".repeat(hand.step)
    );
    let mut depth = 0;
    for key in path.iter().chain(&["containers"]) {
        text.push_str(&format!("{}{key}:{}\n", " ".repeat(depth), hand.comment));
        depth += hand.step;
    }
    depth -= if hand.indented { 0 } else { hand.step };
    for (index, piece) in pieces.iter().enumerate() {
        for (number, line) in container(index, piece, hand).lines().enumerate() {
            let dash = if number == 0 { hand.dash.to_owned() } else { " ".repeat(hand.dash.len()) };
            let line = format!("{}{dash}{line}", " ".repeat(depth));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

fn hands() -> impl Strategy<Value = Hand> {
    let comment = prop::sample::select(vec!["", " # c", "   "]);
    let dash = prop::sample::select(vec!["- ", "-   "]);
    let newline = prop::sample::select(vec!["\n", "\r\n"]);
    (prop::sample::select(vec![2, 4]), any::<bool>(), dash, newline, any::<bool>(), comment).prop_map(
        |(step, indented, dash, newline, ends, comment)| Hand {
            step,
            indented,
            dash,
            newline,
            ends,
            comment,
        },
    )
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let others = prop::sample::subsequence((0..OTHERS.len()).collect::<Vec<_>>(), 0..4).prop_shuffle();
    prop::collection::vec((0..RESOURCES.len(), others, any::<bool>(), prop::bool::weighted(0.15)), 1..4)
}

/// What documents mean.
fn meant(text: &str) -> Vec<Value> {
    Page::read(text).unwrap_or_else(|notes| panic!("{text}: {notes:?}")).values
}

/// Puts a value into a mapping of mappings, with those that are missing.
fn put(value: &mut Value, path: &[&str], new: Value) {
    let [key, rest @ ..] = path else {
        *value = new;
        return;
    };
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    put(value.as_object_mut().unwrap().entry(*key).or_insert(Value::Null), rest, new);
}

proptest! {
    #[test]
    fn only_resources_change_and_only_once(
        hand in hands(),
        documents in prop::collection::vec((0..3usize, pieces()), 1..4),
        chosen in any::<u16>(),
        cpu in prop::option::of(1000..9000u64),
        memory in prop::option::of(1..8192u64),
        limit_cpu in prop::option::of(9000..99000u64),
        limit_memory in prop::option::of(8192..9999u64),
    ) {
        let (mut text, mut all, mut number) = (String::new(), Vec::new(), 0);
        for (kind, pieces) in &documents {
            text.push_str("--- # a document\n");
            let line = u32::try_from(text.lines().count() + 1).unwrap();
            text.push_str(&manifest(*kind, pieces, &hand));
            for index in 0..pieces.len() {
                number += 1;
                if chosen & (1 << number) != 0 {
                    let (requests, limits) = (amounts(cpu, memory), amounts(limit_cpu, limit_memory));
                    all.push(wanted(line, 1, &format!("c{index}"), requests, limits));
                }
            }
        }
        if !hand.ends {
            text.pop();
        }
        let text = text.replace('\n', hand.newline);
        let changed = edited(&text, &all);

        let ours = |line: &&str| ["cpu:", "memory:", "resources", "requests:", "limits:"].iter().any(|key| line.contains(key)) || ["}", "},"].contains(line);
        let others = |text: &str| text.lines().filter(|line| !ours(&line.trim())).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(others(&changed), others(&text));
        prop_assert_eq!(changed.ends_with('\n'), text.ends_with('\n'));
        let breaks = changed.matches('\n').count();
        prop_assert_eq!(changed.matches("\r\n").count(), if hand.newline == "\n" { 0 } else { breaks });

        let (mut expected, found) = (meant(&text), meant(&changed));
        for wanted in &all {
            let page = Page::read(&text).unwrap();
            let objects = objects(&page.documents);
            let object = &objects[&Mark::of_origin(&wanted.object)];
            let pointer = Container::find(&page, object, &wanted.container).unwrap().pointer;
            for (side, amounts) in [("requests", wanted.requests), ("limits", wanted.limits)] {
                let cpu = amounts.cpu.map(|cpu| ("cpu", Quantity::of_thousandths(cpu)));
                let memory = amounts.memory.map(|bytes| ("memory", Quantity::whole(bytes)));
                for (resource, amount) in cpu.into_iter().chain(memory) {
                    let new = &found[object.document].pointer(&format!("{pointer}/resources/{side}/{resource}")).unwrap();
                    prop_assert_eq!(quantity(new), Some(amount));
                    let container = expected[object.document].pointer_mut(&pointer).unwrap();
                    put(container, &["resources", side, resource], (*new).clone());
                }
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_text_makes_it_panic(
        text in "[-:a ,\\[\\]{}&*!|>'\"#\n\r\t<ü]{0,60}",
        resources in "[-:a ,\\[\\]{}&*!|>'\"#\n\r\t<ü~]{0,20}",
    ) {
        let indented = resources.replace('\n', "\n     ");
        for text in [text.clone(), pod(&text), pod(&format!("  - name: app\n    resources: {indented}")), pod(&format!("  - {{name: app, resources: {resources}}}"))] {
            if let Ok(changed) = edit_resources("a.yaml", &text, &[usual()]) {
                prop_assert_eq!(edit_resources("a.yaml", &changed, &[usual()]), Ok(changed.clone()));
            }
        }
    }
}
