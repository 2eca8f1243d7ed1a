use super::*;
use crate::health::{CheckStatus, ProcessState, Test};
use crate::plan::{Precondition, Step};

fn step(name: &str, after: &[&str], gated: bool) -> Step<()> {
    Step {
        id: StepId::new("start", name),
        subject: name.into(),
        action: (),
        after: after.iter().map(|name| StepId::new("start", name)).collect(),
        expect: Precondition::Nothing,
        gate: gated.then(|| Gate {
            test: Test::Healthcheck,
            start: Duration::from_secs(30),
            restarts: 2,
            replicas: 1,
        }),
        timeout: Duration::from_secs(10),
    }
}

fn id(name: &str) -> StepId {
    StepId::new("start", name)
}

fn seen(service: &str, check: CheckStatus) -> Input {
    let sighting = Sighting {
        container: "c".into(),
        state: ProcessState::Running,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        restarts: 0,
        check: Some(check),
        probe: None,
        up: Duration::ZERO,
        restarted_by_engine: true,
        log: vec![],
    };
    Input::Seen(service.into(), vec![sighting])
}

fn dead(service: &str) -> Input {
    let Input::Seen(_, mut sightings) = seen(service, CheckStatus::Starting) else { unreachable!() };
    sightings[0].state = ProcessState::Exited;
    sightings[0].exit_code = 3;
    sightings[0].restarted_by_engine = false;
    Input::Seen(service.into(), sightings)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rollout(steps: Vec<Step<()>>) -> Rollout {
    Rollout::new(&Plan::order(None, steps).unwrap())
}

#[test]
fn an_empty_plan_is_done_at_once() {
    assert_eq!(rollout(vec![]).advance(secs(0), Input::Tick), [Command::Finish(Verdict::Done)]);
}

#[test]
fn what_depends_starts_when_the_gate_has_passed() {
    let mut rollout = rollout(vec![step("db", &[], true), step("app", &["db"], true)]);
    assert_eq!(rollout.advance(secs(0), Input::Tick), [Command::Execute(id("db"))]);
    assert_eq!(rollout.advance(secs(1), Input::StepDone(id("db"))), []);
    assert_eq!(rollout.watched().into_iter().collect::<Vec<_>>(), ["db"]);
    assert_eq!(rollout.awaited().into_iter().collect::<Vec<_>>(), ["db"]);
    let commands = rollout.advance(secs(2), seen("db", CheckStatus::Healthy));
    assert!(commands.contains(&Command::Execute(id("app"))), "{commands:?}");
    assert_eq!((rollout.awaited().len(), rollout.watched().len()), (0, 1));
    rollout.advance(secs(3), Input::StepDone(id("app")));
    let commands = rollout.advance(secs(4), seen("app", CheckStatus::Healthy));
    assert_eq!(commands.last(), Some(&Command::Finish(Verdict::Done)));
}

#[test]
fn a_failure_waits_for_what_runs_and_starts_nothing_new() {
    let mut rollout = rollout(vec![step("a", &[], true), step("b", &[], false), step("c", &["b"], false)]);
    assert_eq!(rollout.advance(secs(0), Input::Tick).len(), 2);
    rollout.advance(secs(1), Input::StepDone(id("a")));
    let commands = rollout.advance(secs(1), dead("a"));
    assert!(!commands.iter().any(|command| matches!(command, Command::Finish(_))), "b still runs");
    let commands = rollout.advance(secs(2), Input::StepDone(id("b")));
    let [Command::Finish(Verdict::Failed(evidence))] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(evidence.subject, "a");
    assert_eq!(evidence.cause.exit_code, Some(3));
}

#[test]
fn a_service_that_dies_after_its_gate_fails_the_release_while_it_goes_on() {
    let mut rollout = rollout(vec![step("a", &[], true), step("b", &["a"], true)]);
    rollout.advance(secs(0), Input::Tick);
    rollout.advance(secs(1), Input::StepDone(id("a")));
    rollout.advance(secs(2), seen("a", CheckStatus::Healthy));
    rollout.advance(secs(3), Input::StepDone(id("b")));
    let commands = rollout.advance(secs(4), dead("a"));
    assert!(matches!(commands.last(), Some(Command::Finish(Verdict::Failed(_)))), "{commands:?}");
}

#[test]
fn a_check_that_wavers_after_it_passed_is_forgiven() {
    let mut rollout = rollout(vec![step("a", &[], true), step("b", &[], true)]);
    rollout.advance(secs(0), Input::Tick);
    rollout.advance(secs(1), Input::StepDone(id("a")));
    rollout.advance(secs(2), seen("a", CheckStatus::Healthy));
    assert_eq!(rollout.advance(secs(50), seen("a", CheckStatus::Unhealthy)), []);
}

#[test]
fn a_lost_lease_ends_it_even_while_steps_run() {
    let mut rollout = rollout(vec![step("a", &[], false)]);
    rollout.advance(secs(0), Input::Tick);
    let commands = rollout.advance(secs(1), Input::LeaseLost("taken by x".into()));
    assert_eq!(commands, [Command::Finish(Verdict::LeaseLost("taken by x".into()))]);
    assert_eq!(rollout.advance(secs(2), Input::StepDone(id("a"))), []);
}

#[test]
fn an_engine_that_tells_nothing_is_not_waited_for_without_end() {
    let mut rollout = rollout(vec![step("a", &[], true)]);
    rollout.advance(secs(0), Input::Tick);
    rollout.advance(secs(1), Input::StepDone(id("a")));
    assert_eq!(rollout.advance(secs(45), Input::Tick), []);
    let commands = rollout.advance(secs(47), Input::Tick);
    assert!(matches!(commands.last(), Some(Command::Finish(Verdict::Failed(_)))), "{commands:?}");
}

#[test]
fn what_the_target_itself_judges_has_the_gates_time() {
    let judged = |health| Input::Judged("a".into(), health, None);
    let starting = || judged(Health::Starting("1 of 2 pods are ready".into()));
    let mut rollout = rollout(vec![step("a", &[], true)]);
    rollout.advance(secs(0), Input::Tick);
    rollout.advance(secs(1), Input::StepDone(id("a")));
    let report = rollout.advance(secs(2), starting());
    assert!(matches!(report.as_slice(), [Command::Report { health: Health::Starting(_), .. }]), "{report:?}");
    let mut late = rollout.clone();
    assert_eq!(
        rollout.advance(secs(3), judged(Health::Ready("all pods are ready"))).last(),
        Some(&Command::Finish(Verdict::Done))
    );
    let Some(Command::Finish(Verdict::Failed(evidence))) = late.advance(secs(31), starting()).pop() else {
        panic!("it must fail when its time is over");
    };
    assert_eq!(evidence.cause.reason, "not ready within 30 s: 1 of 2 pods are ready");
}
