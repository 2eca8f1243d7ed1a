//! Plans as text: what is touched, in which order, and what is left alone.

use bowline_core::compose::planning::{Action, plan, started_again};
use bowline_core::health::ProcessState;
use bowline_core::plan::Plan;

use crate::simulation::{Moment, SimRelease, World, desired};

fn release(images: [u8; 3], definitions: [u8; 3]) -> SimRelease {
    SimRelease { images, definitions }
}

fn waves(plan: &Plan<Action>) -> String {
    let wave = |steps: Vec<&bowline_core::plan::Step<Action>>| {
        steps.iter().map(|step| step.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    plan.waves().into_iter().map(wave).collect::<Vec<_>>().join("\n")
}

fn planned(from: Option<SimRelease>, to: SimRelease) -> String {
    let mut world = World::default();
    if let Some(from) = from {
        world.deploy(&from, None);
    }
    waves(&plan(&world.observe(), &desired(&to)).unwrap())
}

#[test]
fn the_first_deploy_does_everything_in_the_order_of_dependencies() {
    insta::assert_snapshot!(planned(None, release([0, 0, 0], [0, 0, 0])), @r"
    pull:api pull:db pull:web
    write:files
    name:api name:db name:web
    recreate:db
    recreate:api
    recreate:web
    ");
}

#[test]
fn one_new_image_replaces_one_service() {
    insta::assert_snapshot!(planned(Some(release([0, 0, 0], [0, 0, 0])), release([0, 1, 0], [0, 0, 0])), @r"
    pull:api
    name:api
    recreate:api
    ");
}

#[test]
fn one_new_definition_replaces_one_service() {
    insta::assert_snapshot!(planned(Some(release([0, 0, 0], [0, 0, 0])), release([0, 0, 0], [0, 0, 1])), @r"
    write:files
    recreate:web
    ");
}

#[test]
fn nothing_changed_nothing_done() {
    assert_eq!(planned(Some(release([1, 0, 0], [0, 2, 0])), release([1, 0, 0], [0, 2, 0])), "");
}

#[test]
fn the_same_inputs_give_the_same_plan_byte_for_byte() {
    let mut world = World::default();
    world.deploy(&release([0, 0, 0], [0, 0, 0]), None);
    let once =
        || serde_json::to_string(&plan(&world.observe(), &desired(&release([1, 1, 1], [1, 0, 0]))).unwrap());
    assert_eq!(once().unwrap(), once().unwrap());
}

#[test]
fn what_a_release_no_longer_has_goes_last_its_files_first() {
    insta::assert_snapshot!(planned(Some(release([0, 0, 0], [2, 0, 0])), release([0, 0, 1], [0, 0, 0])), @r"
    pull:web
    write:files
    name:web
    recreate:db recreate:web
    remove:extra
    ");
}

#[test]
fn a_service_that_got_another_name_frees_its_port_first() {
    let mut world = World::default();
    world.deploy(&release([0, 0, 0], [2, 0, 0]), None);
    let mut renamed = desired(&release([0, 0, 0], [2, 0, 0]));
    let extra = renamed.services.remove("extra").unwrap();
    renamed.services.insert("renamed".into(), extra);
    insta::assert_snapshot!(waves(&plan(&world.observe(), &renamed).unwrap()), @r"
    remove:extra
    recreate:renamed
    ");
}

/// A world in which `extra` has port 80, and what it is to become: `takers` want the port, `extra` another one.
fn moved_port(takers: &[&str]) -> (World, bowline_core::compose::desired::Desired) {
    let mut world = World::default();
    world.deploy(&release([0, 0, 0], [2, 0, 0]), None);
    let mut moved = desired(&release([0, 0, 0], [2, 0, 0]));
    let ports = std::mem::take(&mut moved.services.get_mut("extra").unwrap().model.ports);
    for name in takers.iter().copied().chain(["extra"]) {
        let service = moved.services.get_mut(name).unwrap();
        service.fingerprint = bowline_core::digest::Digest::of(name.as_bytes());
        if name != "extra" {
            service.model.ports.clone_from(&ports);
        }
    }
    (world, moved)
}

#[test]
fn a_port_is_given_up_before_it_is_taken() {
    let (world, moved) = moved_port(&["db"]);
    insta::assert_snapshot!(waves(&plan(&world.observe(), &moved).unwrap()), @r"
    recreate:extra
    recreate:db
    ");
}

#[test]
fn a_port_that_goes_to_whom_its_holder_depends_on_makes_no_circle() {
    let (world, mut moved) = moved_port(&["db"]);
    let edge = moved.services["api"].model.depends_on["db"];
    moved.services.get_mut("extra").unwrap().model.depends_on.insert("db".into(), edge);
    insta::assert_snapshot!(waves(&plan(&world.observe(), &moved).unwrap()), @r"
    recreate:db
    recreate:extra
    ");
}

#[test]
fn what_somebody_stopped_is_started_again_without_deciding_anything_and_what_grows_is_waited_for() {
    let mut world = World::default();
    let same = release([0, 0, 0], [0, 0, 0]);
    world.deploy(&same, None);
    let mut observed = world.observe();
    let web = observed.containers.iter_mut().find(|container| container.service == "web").unwrap();
    web.state = ProcessState::Exited;
    let again = plan(&observed, &desired(&same)).unwrap();
    assert_eq!(waves(&again), "start:web");
    assert_eq!(started_again(&again), ["web".to_owned()].into());

    let mut more = desired(&same);
    let web = more.services.get_mut("web").unwrap();
    (web.model.replicas, web.gate.replicas) = (2, 2);
    let grown = plan(&world.observe(), &more).unwrap();
    assert_eq!(waves(&grown), "start:web");
    assert_eq!(grown.steps[0].gate.as_ref().map(|gate| gate.replicas), Some(2));
    assert!(started_again(&grown).is_empty());
}

/// A world in which Compose was killed while it replaced `web` for a release of this image.
fn killed_while_replacing(moment: Moment) -> World {
    let mut world = World::default();
    world.deploy(&release([0, 0, 0], [0, 0, 0]), None);
    // The journal's page, the pull, the name.
    world.deploy(&release([0, 0, 1], [0, 0, 0]), Some((3, moment)));
    world
}

#[test]
fn what_a_killed_compose_left_under_a_passing_name_is_removed_before_the_service_is_replaced() {
    let world = killed_while_replacing(Moment::Begun);
    let planned = plan(&world.observe(), &desired(&release([0, 0, 1], [0, 0, 0]))).unwrap();
    insta::assert_snapshot!(waves(&planned), @r"
    remove:web
    recreate:web
    ");
    let expected = |step: &bowline_core::plan::Step<Action>| match &step.expect {
        bowline_core::plan::Precondition::Containers(ids) => ids.len(),
        bowline_core::plan::Precondition::Nothing => 0,
    };
    assert_eq!(planned.steps.iter().map(expected).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn going_back_from_a_killed_compose_leaves_alone_what_it_had_not_replaced_yet() {
    let world = killed_while_replacing(Moment::Begun);
    insta::assert_snapshot!(waves(&plan(&world.observe(), &desired(&release([0, 0, 0], [0, 0, 0]))).unwrap()), @r"
    name:web
    remove:web
    ");
}

#[test]
fn a_passing_name_that_nobody_else_wants_is_no_obstacle() {
    let world = killed_while_replacing(Moment::Halfway);
    insta::assert_snapshot!(waves(&plan(&world.observe(), &desired(&release([0, 0, 1], [0, 0, 0]))).unwrap()), @"recreate:web");
}

#[test]
fn a_service_that_somebody_stopped_is_started_and_a_task_that_ended_is_not() {
    let mut world = World::default();
    world.deploy(&release([0, 0, 0], [0, 0, 0]), None);
    let mut observed = world.observe();
    for container in observed.containers.iter_mut().filter(|container| container.service != "db") {
        container.state = ProcessState::Exited;
        container.restart = "no".into();
    }
    observed.revision.as_mut().unwrap().services.get_mut("api").unwrap().task = true;
    insta::assert_snapshot!(waves(&plan(&observed, &desired(&release([0, 0, 0], [0, 0, 0]))).unwrap()), @"start:web");
}
