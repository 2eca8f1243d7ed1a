//! Invariant 4 (design): a run killed anywhere is finished, or undone, by the next mutating command.

use proptest::prelude::*;

use crate::simulation::{BROKEN, End, Moment, SimRelease, World};

fn release() -> impl Strategy<Value = SimRelease> {
    let versions = prop::array::uniform3(0u8..3);
    (versions.clone(), versions).prop_map(|(images, definitions)| SimRelease { images, definitions })
}

fn maybe_broken() -> impl Strategy<Value = SimRelease> {
    (release(), prop::option::weighted(0.4, 0usize..3)).prop_map(|(mut release, broken)| {
        if let Some(service) = broken {
            release.images[service] = BROKEN;
        }
        release
    })
}

fn cut() -> impl Strategy<Value = (usize, Moment)> {
    let moment =
        prop_oneof![Just(Moment::Before), Just(Moment::Begun), Just(Moment::Halfway), Just(Moment::After)];
    (0usize..14, moment)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Killed again and again anywhere, and then run once in peace: all new, or all old.
    #[test]
    fn a_killed_deploy_is_finished_or_undone_by_the_next(
        first in release(),
        tries in prop::collection::vec((maybe_broken(), cut()), 1..5),
        last in maybe_broken(),
    ) {
        let mut world = World::with_users_file();
        prop_assert!(matches!(world.deploy(&first, None), End::Done { .. }), "the first deploy works");
        for (release, cut) in &tries {
            world.deploy(release, Some(*cut));
        }
        let base = world.revisions.last().unwrap().1.clone();
        let wanted = match world.deploy(&last, None) {
            End::Done { .. } => &last,
            End::PutBack => &base,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(world.runs_exactly(wanted), Ok(()));
        prop_assert!(world.keeps_users_file(), "{:?}", world);
        prop_assert!(!world.journal);
    }

    /// What runs already the right way is left alone.
    #[test]
    fn a_second_deploy_of_the_same_does_nothing(first in release(), tries in prop::collection::vec((release(), cut()), 0..3)) {
        let mut world = World::default();
        for (release, cut) in &tries {
            world.deploy(release, Some(*cut));
        }
        let end = world.deploy(&first, None);
        prop_assert!(matches!(end, End::Done { .. }), "{:?}", end);
        prop_assert_eq!(world.deploy(&first, None), End::Done { actions: 0 });
    }
}
