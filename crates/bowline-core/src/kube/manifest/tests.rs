use serde_json::json;

use super::*;

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn read_one(text: &str) -> Reading {
    read(&files(&[("a.yaml", text)]), None, |_| None)
}

fn shown(remarks: &[Remark]) -> Vec<String> {
    remarks.iter().map(Remark::to_string).collect()
}

fn ids(reading: &Reading) -> Vec<String> {
    reading.manifests.iter().map(|manifest| format!("{} {}", manifest.origin, manifest.id)).collect()
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[test]
fn streams_lists_and_json_are_read_in_their_order() {
    let reading = read(
        &files(&[
            (
                "b.yaml",
                "# nothing\n---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: user\n...\n---\n# end\n",
            ),
            (
                "a.yaml",
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: chat}\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: x}}]}\n",
            ),
            (
                "c.json",
                "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMapList\", \"items\": [\n\t{\"metadata\": {\"name\": \"c\"}}]}\n",
            ),
            ("d.yml", "apiVersion: v1\nkind: SecretList\nitems:\n"),
        ]),
        Some("chat"),
        |_| None,
    );
    assert_eq!(shown(&reading.problems), [""; 0]);
    assert_eq!(
        ids(&reading),
        [
            "a.yaml:4:3 Namespace chat",
            "a.yaml:7:40 Pod x/p",
            "b.yaml:4:1 Deployment chat/user",
            "c.json:2:2 ConfigMap chat/c",
        ]
    );
    for manifest in &reading.manifests {
        assert_eq!(identify(&manifest.value).as_ref(), Some(&manifest.id));
    }
    let [_, _, deployment, _] = reading.manifests.as_slice() else { panic!() };
    assert_eq!((deployment.version.as_str(), deployment.api_version().as_str()), ("v1", "apps/v1"));
    assert_eq!(reading.skipped, []);
}

#[test]
fn what_is_no_manifest_is_said_and_left_out() {
    for (path, text, said) in [
        ("values.yaml", "image:\n  tag: x\n", "values for a Helm chart"),
        ("Chart.yaml", "apiVersion: v2\nname: x\nversion: 1.0.0\n", "a Helm chart"),
        ("dashboards/chat.json", "{\"panels\": [], \"title\": \"x\"}", "a dashboard"),
        ("docker-compose.yaml", "services:\n  a: {image: x}\n", "a Compose file"),
        (
            "kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
            "kustomization",
        ),
        ("k/kustomization.yaml", "resources: [a.yaml]\n", "kustomization"),
        ("skaffold.yaml", "apiVersion: skaffold/v4beta1\nkind: Config\n", "Skaffold"),
        ("kind.yaml", "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", "configures kind"),
        ("config.yaml", "apiVersion: v1\nkind: Config\nclusters: []\n", "kubeconfig"),
        ("list.yaml", "- a\n- b\n", "no mapping"),
        ("text.yaml", "some words\n", "no mapping"),
        ("other.yaml", "a: 1\n", "neither"),
        ("README.md", "# {{ not: yaml", "neither YAML nor JSON"),
    ] {
        let reading = read(&files(&[(path, text)]), None, |_| None);
        let [skipped] = reading.skipped.as_slice() else { panic!("{path}: {reading:?}") };
        assert!(skipped.message.contains(said), "{path}: {skipped}");
        assert_eq!(skipped.at.file, path);
        assert_eq!((reading.manifests, reading.problems), (vec![], vec![]), "{path}");
    }
    assert_eq!(read_one(""), Reading::default());
}

#[test]
fn manifests_that_are_wrong_are_problems() {
    for (text, expected) in [
        ("kind: Pod\nmetadata: {name: a}\n", "a.yaml:1:1: has a `kind` and no `apiVersion`"),
        ("---\napiVersion: v1\nmetadata: {name: a}\n", "a.yaml:2:1: has an `apiVersion` and no `kind`"),
        ("apiVersion: v1\nkind: Pod\n", "a.yaml:1:1: has no `metadata.name`"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 12}\n",
            "a.yaml:1:1: its `metadata.name` must be text: quote it",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: on}\n",
            "a.yaml:1:1: its `metadata.name` must be text: quote it",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 1}\n",
            "a.yaml:1:1: its `metadata.namespace` must be text: quote it",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: x\n", "a.yaml:1:1: its `metadata` must be a mapping"),
        (
            "apiVersion: 1\nkind: Pod\nmetadata: {name: a}\n",
            "a.yaml:1:1: its `apiVersion` and `kind` must be text",
        ),
        ("apiVersion: a/b/c\nkind: Pod\nmetadata: {name: a}\n", "a.yaml:1:1: `a/b/c` is no `apiVersion`"),
    ] {
        assert_eq!(shown(&read_one(text).problems), [expected], "{text}");
    }
    let text = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-}\n";
    let problems = read_one(text).problems;
    assert!(problems[0].message.contains("generateName") && problems.len() == 1, "{problems:?}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let reading = read(
        &files(&[
            ("a.yaml", CONFIG),
            ("b.yaml", "apiVersion: v1\nkind: [\n---\napiVersion: v1\nkind: Pod\n"),
            ("c.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: ü\n  ü: 1\n  ü: 2\n"),
            ("d.yaml", CONFIG),
            ("e.yaml", "metadata:\n  name: {{ .Release.Name }}-x: y\n"),
        ]),
        Some("default"),
        |_| None,
    );
    let problems = shown(&reading.problems);
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(problems[0].starts_with("b.yaml:2:7: not valid YAML: "), "{problems:#?}");
    assert_eq!(problems[1], "b.yaml:4:1: has no `metadata.name`");
    assert_eq!(problems[2], "c.yaml:6:3: `ü` stands here a second time, first at line 5, column 3");
    assert_eq!(problems[3], "d.yaml:1:1: ConfigMap default/a is already described in a.yaml:1:1");
    assert!(problems[4].contains("is a template"), "{problems:#?}");
}

#[test]
fn one_object_is_described_once_whatever_its_version() {
    let named = "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a, namespace: chat}\n";
    let bare = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n";
    let text = format!("{named}{bare}");
    let reading = read(&files(&[("a.yaml", &text)]), Some("chat"), |_| None);
    assert_eq!(
        shown(&reading.problems),
        ["a.yaml:5:1: Deployment chat/a is already described in a.yaml:1:1"]
    );
    assert_eq!(read(&files(&[("a.yaml", &text)]), Some("other"), |_| None).problems, []);
}

#[test]
fn objects_go_where_their_kind_belongs() {
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x}\nspec: {group: own.io, scope: Cluster, names: {kind: Own}}\n";
    let object = |kind: &str| format!("---\n{kind}\nmetadata: {{name: a, namespace: ns}}\n");
    let kinds = [
        "apiVersion: v1\nkind: Namespace",
        "apiVersion: own.io/v1\nkind: Own",
        "apiVersion: asked.io/v1\nkind: Asked",
        "apiVersion: who.io/v1\nkind: Who",
        "apiVersion: v1\nkind: Service",
    ];
    let text = definition.to_owned() + &kinds.map(object).concat();
    let asked = |kind: &Kind| kind.is("asked.io", "Asked").then_some(Scope::Cluster);
    let reading = read(&files(&[("a.yaml", &text)]), None, asked);
    assert_eq!(
        ids(&reading),
        [
            "a.yaml:1:1 CustomResourceDefinition x",
            "a.yaml:6:1 Namespace a",
            "a.yaml:10:1 Own a",
            "a.yaml:14:1 Asked a",
            "a.yaml:18:1 Who ns/a",
            "a.yaml:22:1 Service ns/a",
        ]
    );
    assert_eq!(
        shown(&reading.warnings)[0],
        "a.yaml:6:1: Namespace a belongs to the whole cluster: its namespace `ns` is left out"
    );
    assert_eq!(reading.warnings.len(), 3);
    assert_eq!(reading.manifests[1].value["metadata"], json!({"name": "a"}));
    let unknown: Vec<_> = reading.unknown.iter().map(|(kind, at)| format!("{kind} {at}")).collect();
    assert_eq!(unknown, ["Who a.yaml:18:1"]);
}

#[test]
fn what_a_cluster_cannot_hold_is_a_problem() {
    let config = |size: usize| format!("{CONFIG}data:\n  x: {}\n", "x".repeat(size));
    assert_eq!(read_one(&config(DATA_BYTES)).problems, []);
    assert_eq!(
        shown(&read_one(&config(DATA_BYTES + 1)).problems),
        ["a.yaml:1:1: ConfigMap a holds 1048577 bytes; a ConfigMap takes at most 1048576"]
    );
    let secret = CONFIG.replace("ConfigMap", "Secret");
    let packed = STANDARD.encode(vec![0; DATA_BYTES]);
    let secret = format!("{secret}data:\n  x: {packed}\n  y: {packed}\nstringData: {{y: ''}}\n");
    assert_eq!(read_one(&secret).problems, []);
}

#[test]
fn hostile_files_are_refused_quickly() {
    let large = format!("{CONFIG}data:\n{}", "  # x\n".repeat(FILE_BYTES / 6));
    let values = format!("{CONFIG}data: [{}]\n", "1,".repeat(500_000));
    let deep = format!("{CONFIG}data: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    let indented: String = (0..2000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let twice = format!("{CONFIG}data:\n{}", "  a: 1\n".repeat(10_000));
    let own = format!("{CONFIG}data: &a [*a]\n");
    let nul = format!("{CONFIG}data: \0\n");
    for (name, text) in [
        ("large", large),
        ("values", values),
        ("deep", deep),
        ("indented", indented),
        ("twice", twice),
        ("own", own),
        ("nul", nul),
    ] {
        let reading = read_one(&text);
        assert!(!reading.problems.is_empty(), "{name}");
        assert!(reading.problems.len() <= REMARKS, "{name}: {}", reading.problems.len());
        assert_eq!(reading.manifests, [], "{name}");
    }
}
