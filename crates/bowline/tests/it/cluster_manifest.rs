//! Manifests and what is worked into them: images, secrets, and what one cluster needs differently.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cluster::{Harbour, QUICK, deployment};

/// All files below a directory, as text.
fn texts(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
                found.push((entry.path().display().to_string(), text));
            }
        }
    }
    found
}

#[test]
fn a_secret_from_the_environment_reaches_its_pods_and_is_told_nowhere_else() {
    let Some(harbour) = Harbour::open("secret") else { return };
    let secrets = "[targets.cluster.secrets.database]\ndata = { PASSWORD = \"env:DB_PASSWORD\" }\n";
    harbour.configure(&format!("{QUICK}{secrets}"), "");
    harbour.deployment(
        "web",
        "          env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: database, key: PASSWORD}}}]\n",
    );
    harbour.merge("[minor] the first");
    harbour.run(&["release"]).exits(0);
    harbour.run(&["plan", "cluster"]).exits(2).says("DB_PASSWORD");
    let mut said = Vec::new();
    for value in ["hunter2-the-first", "correct-horse-battery"] {
        harbour.variables.borrow_mut().insert("DB_PASSWORD".into(), value.into());
        for arguments in [
            &["plan", "cluster"][..],
            &["--json", "plan", "cluster"],
            &["--json", "deploy", "cluster"],
            &["deploy", "cluster"],
        ] {
            let ran = harbour.run(arguments).exits(0);
            said.push(format!("{ran}"));
        }
        let kept = harbour.objects()["Secret/database"]["data"]["PASSWORD"].as_str().unwrap().to_owned();
        assert_eq!(STANDARD.decode(kept).unwrap(), value.as_bytes());
    }
    let pods = harbour.pods_of("web");
    assert_eq!(harbour.ask(&pods[0], "/env?PASSWORD"), "hunter2-the-first", "pods read it when they start");
    // A release that fails, and the way back.
    harbour.service("web", "2", &["ENV EXIT_AFTER=0"]);
    harbour.merge("[patch] a broken one");
    let broken = harbour.run(&["--json", "ship", "cluster"]).exits(1);
    said.push(format!("{broken}"));
    let documents = harbour.documents().into_iter().map(|(_, _, content)| content.to_string());
    let files = texts(harbour.scratch.path()).into_iter().map(|(path, text)| format!("{path}\n{text}"));
    let everything: Vec<String> = said.into_iter().chain(documents).chain(files).collect();
    for value in ["hunter2-the-first", "correct-horse-battery"] {
        for form in [value.to_owned(), STANDARD.encode(value)] {
            let found: Vec<_> = everything.iter().filter(|text| text.contains(&form)).collect();
            assert!(found.is_empty(), "{found:?}");
        }
    }
    harbour.is_at_rest();
}

#[test]
fn writing_images_into_the_manifests_changes_their_bytes_alone() {
    let Some(harbour) = Harbour::open("write") else { return };
    let odd = "apiVersion: apps/v1\r\nkind: Deployment # odd\r\nmetadata: {name:   odd}\r\nspec:\r\n  selector: \
               {matchLabels: {app: odd}}\r\n  template:\r\n    metadata: {labels: {app: odd}}\r\n    spec: \
               {containers: [{name: odd,  image: 'tiny-web',  ports: []}]} # the end\r\n";
    harbour.work.write("k8s/odd.yaml", odd);
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let files = ["odd", "web", "users", "settings", "namespace"];
    let read = || -> Vec<String> {
        let path = |name: &&str| harbour.work.path().join(format!("k8s/{name}.yaml"));
        files.iter().map(|name| std::fs::read_to_string(path(name)).unwrap()).collect()
    };
    let before = read();
    harbour.run(&["plan", "cluster", "--write-images"]).exits(0);
    let images = harbour.images();
    let expected: Vec<String> = before
        .iter()
        .map(|text| {
            let text = text.replace("'tiny-web'", &format!("'{}'", images["web"]));
            let text = text.replace("tiny-web:latest", &images["web"]);
            text.replace("tiny-users:latest", &images["users"])
        })
        .collect();
    assert_eq!(read(), expected);
    assert_eq!(harbour.work.git(["status", "--short"]).lines().count(), 3);
    let again = harbour.run(&["plan", "cluster", "--write-images"]).exits(0);
    assert_eq!(read(), expected, "{again}");
    // They are ours now, too: what is released with them is what runs.
    harbour.merge("[patch] with images");
    harbour.run(&["--json", "ship", "cluster"]).exits(0);
    assert_eq!(harbour.images(), images);
}

#[test]
fn manifests_from_a_pipe_are_planned_in_place_of_those_of_the_release() {
    let Some(harbour) = Harbour::open("pipe") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let before = harbour.resource_versions();
    let piped = |text: &str| {
        let mut command = harbour.command(&["plan", "cluster", "--manifests", "-"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = piped(&deployment("web", "          env: [{name: COLOUR, value: blue}]\n"));
    assert!(code == Some(0) && said.contains(".env: nothing -> (hidden)"), "{said}");
    let (code, said) = piped(&deployment("web", ""));
    assert!(code == Some(0) && said.contains("nothing to do"), "{said}");
    let (code, said) = piped("apiVersion: v1\nkind: ConfigMap\n");
    assert!(code == Some(2) && said.contains("stdin.yaml:1:1"), "{said}");
    assert_eq!(harbour.resource_versions(), before);
}

#[test]
fn what_a_cluster_needs_differently_is_worked_into_its_objects_and_goes_with_the_wish() {
    let Some(harbour) = Harbour::open("differ") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let wishes = "[targets.cluster.services.web]\nenv = { COLOUR = \"red\" }\nreplicas = 1\nmemory = \"64M\"\n\
                  [targets.cluster.services.users]\nenabled = false\n";
    harbour.configure(&format!("{QUICK}{wishes}"), "");
    harbour.merge("[patch] smaller");
    harbour.run(&["ship", "cluster"]).exits(0);
    let web = harbour.pods_of("web");
    assert_eq!(web.len(), 1);
    assert_eq!(harbour.ask(&web[0], "/env?COLOUR"), "red");
    let objects = harbour.objects();
    let container = &objects["Deployment/web"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["memory"], "67108864");
    assert!(harbour.pods_of("users").is_empty());
    harbour.configure(QUICK, "");
    harbour.merge("[patch] as it was");
    harbour.run(&["ship", "cluster"]).exits(0);
    harbour.runs("1", "1");
    assert_eq!((harbour.pods_of("web").len(), harbour.pods_of("users").len()), (2, 2));
    let objects = harbour.objects();
    let container = &objects["Deployment/web"]["spec"]["template"]["spec"]["containers"][0];
    assert!(container["env"].is_null() && container["resources"]["limits"].is_null(), "{container}");
    harbour.is_at_rest();
}

#[test]
fn a_cluster_is_looked_at_and_what_was_seen_is_kept() {
    let Some(harbour) = Harbour::open("record") else { return };
    harbour.merge("[minor] the first");
    harbour.run(&["ship", "cluster"]).exits(0);
    let file = harbour.scratch.path().join("cluster.bowline");
    let file = file.to_str().unwrap();
    let seen = ["--json", "capacity", "cluster", "--for", "20s", "--record", file];
    let picture = harbour.run(&seen).exits(0).summary();
    let names: Vec<&str> =
        picture["services"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["users", "web"], "{picture}");
    let advice = harbour.run(&["--json", "capacity", "advise", "cluster", "--from", file]).exits(0).summary();
    let advice = advice["advice"].as_array().unwrap().clone();
    assert_eq!(advice.iter().map(|one| &one["service"]).collect::<Vec<_>>(), ["users", "web"]);
    harbour.configure(QUICK, "[capacity]\ncompare-after = \"30s\"\n");
    harbour.service("web", "2", &[]);
    harbour.merge("[patch] another web");
    let shipped = harbour.run(&["--json", "ship", "cluster"]).exits(0).summary();
    let changes = shipped["capacity"]["changes"].as_array().unwrap();
    let web = changes.iter().find(|change| change["service"] == "web").unwrap();
    assert!(web["memory"][0].as_u64() > Some(0) && web["memory"][1].as_u64() > Some(0), "{shipped}");
    // Of some seconds nothing is made.
    harbour
        .run(&["capacity", "advise", "cluster", "--from", file, "--write"])
        .exits(0)
        .says("nothing to write");
    assert_eq!(harbour.work.git(["status", "--short"]), "");
}
