//! Manifests that others wrote, and texts that are meant to hurt.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bowline_core::kube::edit::{Amounts, Change, Wanted, edit, edit_resources};
use bowline_core::kube::image::{OurImage, OurImages, Pin, pin};
use bowline_core::kube::manifest::read;
use bowline_core::kube::normal::normalise;
use bowline_core::kube::object::Manifest;
use bowline_core::kube::workload::pod_spec_mut;
use bowline_core::service::TagTemplate;
use proptest::prelude::*;

/// The manifests of a public demonstration by their names; none, and a loud line, where they are missing.
pub(crate) fn files(folder: &str) -> Option<BTreeMap<String, String>> {
    // Beside the checkout, however deep that lies, or where `BOWLINE_TEST_FIXTURES` says.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = root.ancestors().map(|above| above.join("shared/fixtures"));
    let named = std::env::var_os("BOWLINE_TEST_FIXTURES").map(PathBuf::from);
    let mut places = named.into_iter().chain(beside);
    let Some(fixtures) = places.find(|path| path.is_dir()) else {
        // Past the harness's capture.
        let mut stderr = std::io::stderr().lock();
        stderr.write_all(b"SKIPPED: shared/fixtures is not beside the checkout\n").unwrap();
        return None;
    };
    let entries = std::fs::read_dir(fixtures.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    Some(entries.map(named).collect())
}

#[test]
fn manifests_that_others_wrote_are_read_pinned_and_edited() {
    for (folder, objects, skipped) in
        [("microservices-demo/kubernetes-manifests", 35, 1), ("voting-app/k8s-specifications", 9, 0)]
    {
        let Some(files) = files(folder) else { return };
        let reading = read(&files, Some("shop"), |_| None);
        assert_eq!((reading.problems, reading.warnings), (vec![], vec![]), "{folder}");
        assert_eq!((reading.manifests.len(), reading.skipped.len()), (objects, skipped), "{folder}");
        assert!(reading.skipped.iter().all(|skipped| skipped.message.contains("kustomization")));
        assert!(reading.unknown.is_empty());
        let mut manifests = reading.manifests;
        let mut before = manifests.clone();
        assert_eq!(normalise(&mut manifests, &files), Default::default(), "{folder}");
        // A pod's account goes by its old name, too: the server keeps both.
        for manifest in &mut before {
            let spec = pod_spec_mut(&manifest.id.kind, &mut manifest.value);
            let spec = spec.and_then(serde_json::Value::as_object_mut);
            if let Some((spec, name)) =
                spec.and_then(|spec| spec.get("serviceAccountName").cloned().map(|name| (spec, name)))
            {
                spec.insert("serviceAccount".into(), name);
            }
        }
        assert_eq!(manifests, before, "{folder}");

        // Every image becomes a service of its own name.
        let images: Vec<&str> = files
            .values()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "))
            .map(|image| image.trim().trim_matches(['"', '\'']))
            .collect();
        assert!(images.len() >= 5);
        let services = images.iter().enumerate().map(|(index, image)| {
            let name = format!("s{index}");
            let zero = "sha256:".to_owned() + &"0".repeat(64);
            let id = bowline_core::image::ImageId {
                manifest: zero.parse().unwrap(),
                config: zero.parse().unwrap(),
                platform: "linux/amd64".parse().unwrap(),
            };
            let first = images.iter().position(|other| other == image) == Some(index);
            let claims = if first { vec![image.parse().unwrap()] } else { Vec::new() };
            (name.parse().unwrap(), OurImage { claims, id, tag: format!("{name}_v1.0.0") })
        });
        let ours = OurImages {
            repository: "registry.example:5000/shop".parse().unwrap(),
            template: TagTemplate::default(),
            services: services.collect(),
        };
        let pinned = pin(&mut manifests, &ours);
        assert_eq!(pinned.problems, [], "{folder}");
        assert_eq!(pinned.pins.len(), images.len(), "{folder}");
        let changes: Vec<Change> = pinned.pins.iter().map(Pin::change).collect();
        let mut edited = BTreeMap::new();
        for (path, text) in &files {
            let changed = edit(path, text, &changes).unwrap();
            // Back again, it is the file that it was.
            let back: Vec<Change> = changes
                .iter()
                .cloned()
                .map(|change| Change { from: change.to, to: change.from, ..change })
                .collect();
            assert_eq!(edit(path, &changed, &back).as_ref(), Ok(text), "{path}");
            let images = |text: &str| {
                text.lines().filter(|line| !line.contains("image: ")).collect::<Vec<_>>().join("\n")
            };
            assert_eq!(images(&changed), images(text), "{path}");
            edited.insert(path.clone(), changed);
        }
        // What git then has is what was applied.
        let mut again = read(&edited, Some("shop"), |_| None).manifests;
        normalise(&mut again, &edited);
        assert_eq!(again, manifests, "{folder}");
    }
}

/// Gives all containers of a file what is wanted of each; gives the manifests then.
fn give(
    path: &str,
    text: &str,
    requests: Amounts,
    limits: Amounts,
) -> Result<(String, Vec<Manifest>), String> {
    let files = |text: &str| BTreeMap::from([(path.to_owned(), text.to_owned())]);
    let mut manifests = read(&files(text), None, |_| None).manifests;
    let mut wanted = Vec::new();
    for manifest in &mut manifests {
        let spec = pod_spec_mut(&manifest.id.kind, &mut manifest.value);
        let containers = spec.and_then(|spec| spec.get_mut("containers")?.as_array_mut());
        for container in containers.into_iter().flatten() {
            let (object, name) = (manifest.origin.clone(), container["name"].as_str().unwrap().to_owned());
            wanted.push(Wanted { object, container: name, requests, limits });
            for (side, amounts) in [("requests", requests), ("limits", limits)] {
                // Indexing by a key puts it in where it is missing.
                if let Some(cpu) = amounts.cpu {
                    container["resources"][side]["cpu"] = format!("{cpu}m").into();
                }
                if let Some(bytes) = amounts.memory {
                    container["resources"][side]["memory"] = format!("{}Mi", bytes >> 20).into();
                }
            }
        }
    }
    let edited = edit_resources(path, text, &wanted).map_err(|refused| {
        assert!(!refused.is_empty(), "{path}");
        refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    // An insertion moves what stands below it.
    let found = read(&files(&edited), None, |_| None);
    assert_eq!((found.problems, found.warnings), (vec![], vec![]), "{path}");
    for (wanted, found) in manifests.iter_mut().zip(&found.manifests) {
        wanted.origin = found.origin.clone();
    }
    assert_eq!(found.manifests, manifests, "{path}");
    Ok((edited, found.manifests))
}

#[test]
fn containers_that_others_described_are_given_resources() {
    for (folder, containers, limited) in
        [("microservices-demo/kubernetes-manifests", 12, 11), ("voting-app/k8s-specifications", 5, 0)]
    {
        let Some(files) = files(folder) else { return };
        let requests = Amounts { cpu: Some(115), memory: Some(96 << 20) };
        let limits = Amounts { cpu: None, memory: Some(300 << 20) };
        let (mut given, mut refused) = (0, 0);
        for (path, text) in &files {
            let (edited, _) = give(path, text, requests, limits).unwrap();
            given += edited.matches("memory: 300Mi").count();
            let others = |text: &str| {
                let ours = |line: &&str| {
                    let keys = ["resources:", "requests:", "limits:", "cpu:", "memory:"];
                    keys.iter().any(|key| line.trim().starts_with(key))
                };
                text.lines().filter(|line| !ours(line)).collect::<Vec<_>>().join("\n")
            };
            assert_eq!(others(&edited), others(text), "{path}");
            assert_eq!(give(path, &edited, requests, limits).unwrap().0, edited, "{path}");
            // Too low a limit for what is requested.
            let low = Amounts { cpu: None, memory: Some(1 << 20) };
            if let Err(told) = give(path, text, Amounts::default(), low) {
                refused += 1;
                assert!(told.contains("is to be limited to 1Mi memory, and requests "), "{told}");
            }
        }
        assert_eq!((given, refused), (containers, limited), "{folder}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "(apiVersion: v1\nkind: (Pod|List|Secret)\n(metadata: \\{name: a\\}\n)?)?[-:a ,\\[\\]{}&*!|>'\"#\n\t<ü]{0,80}") {
        let files = BTreeMap::from([("a.yaml".to_owned(), text)]);
        let mut reading = read(&files, None, |_| None);
        let again = normalise(&mut reading.manifests, &files);
        prop_assert!(again.problems.is_empty());
    }
}
