//! `--service`: what can be deployed of a release, and what a return to it then means.

use std::collections::BTreeSet;

use bowline_core::compose::part::{check, mix};
use bowline_core::compose::planning::plan;

use crate::simulation::{SimRelease, World, desired, desired_of, images};

fn release(images: [u8; 3], definitions: [u8; 3]) -> SimRelease {
    SimRelease { images, definitions }
}

/// Deploys `only` of a release over another one: what speaks against it, and the steps.
fn deploy(from: &SimRelease, to: &SimRelease, only: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut world = World::default();
    world.deploy(from, None);
    let observed = world.observe();
    let base = observed.revision.clone().unwrap();
    let only: BTreeSet<String> = only.iter().map(|name| (*name).to_owned()).collect();
    let mixed = mix(&desired(to), &images(to), &base.images, &only);
    let part = desired_of(to, &mixed);
    let against = check(&part, &base, &only);
    let against =
        against.into_iter().map(|finding| format!("{}: {}", finding.subject, finding.text)).collect();
    let steps = plan(&observed, &part).unwrap().steps.iter().map(|step| step.id.to_string()).collect();
    (against, steps)
}

#[test]
fn a_part_takes_its_own_image_and_leaves_the_others_theirs() {
    let (against, steps) = deploy(&release([0, 0, 0], [0, 0, 0]), &release([1, 1, 1], [0, 0, 0]), &["api"]);
    assert_eq!(against, Vec::<String>::new());
    assert_eq!(steps, ["pull:api", "name:api", "recreate:api"]);
}

#[test]
fn a_part_takes_its_own_definition() {
    let (against, steps) = deploy(&release([0, 0, 0], [0, 0, 0]), &release([1, 1, 1], [0, 1, 0]), &["api"]);
    assert_eq!(against, Vec::<String>::new());
    assert_eq!(steps, ["pull:api", "write:files", "name:api", "recreate:api"]);
}

#[test]
fn what_would_change_or_end_others_is_refused() {
    let first = release([0, 0, 0], [0, 0, 0]);
    let changes = |name: &str| {
        format!("{name}: this release changes it too: its definition, or an image or a file that it shares")
    };
    // Another definition of another service.
    assert_eq!(deploy(&first, &release([1, 1, 1], [0, 1, 1]), &["api"]).0, [changes("web")]);
    assert_eq!(deploy(&first, &release([1, 1, 1], [0, 1, 1]), &["api", "web"]).0, Vec::<String>::new());
    // Another service that is new, or gone; `extra` runs the image of `db`.
    let more = release([0, 0, 0], [2, 0, 0]);
    assert_eq!(deploy(&first, &more, &["db"]).0, ["extra: it does not run yet"]);
    assert_eq!(deploy(&more, &first, &["db"]).0, ["extra: this release no longer has it"]);
    assert_eq!(deploy(&more, &release([1, 0, 0], [2, 0, 0]), &["db"]).0, [changes("extra")]);
}

#[test]
fn a_number_of_containers_is_part_of_what_stays() {
    let mut world = World::default();
    world.deploy(&release([0, 0, 0], [0, 0, 0]), None);
    let base = world.observe().revision.unwrap();
    let mut part = desired(&release([0, 0, 0], [0, 0, 0]));
    let only = BTreeSet::from(["api".to_owned()]);
    for (replicas, against) in [(1, 0), (2, 1), (0, 1)] {
        part.services.get_mut("web").unwrap().model.replicas = replicas;
        assert_eq!(check(&part, &base, &only).len(), against, "{replicas}");
    }
}
