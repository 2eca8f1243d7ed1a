//! CPU credits of burstable machines (Amazon EC2 T2, T3, T3a and T4g): a machine of two processors that may use two now
//! and then, and four tenths of one for good.
//!
//! The rules are those of the EC2 User Guide, "Key concepts for burstable performance instances", "Standard mode concepts"
//! and "Unlimited mode concepts". One credit is one processor at full speed for one minute.
//!
//! Amounts are thousandths of a credit, processors thousandths of a core: a core spends 60 credits in an hour, so that
//! all of this is exact.

use std::time::Duration;

/// What one thousandth of a core spends in an hour, in thousandths of a credit.
const SPENT: u64 = 60;
/// Milliseconds of an hour.
const HOUR: u128 = 3_600_000;

/// How a type of machine earns and keeps credits, in thousandths of a credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Earned in an hour, whatever is done.
    pub earned: u64,
    /// The most that is kept: what is earned in a day.
    pub kept: u64,
    /// Given at each start (T2 in standard mode: 30 for each processor); spent first, and not counted among those kept.
    pub launch: u64,
}

/// The credits that a machine has, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Earned and not yet spent.
    pub earned: u64,
    /// Left of those given at the start.
    pub launch: u64,
}

/// What becomes of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// After what time the credits are spent and the machine is held to what it earns; none: never.
    pub lasts: Option<Duration>,
    /// How much more is spent than earned in an hour; negative where credits are left over.
    pub short: i64,
}

impl Burst {
    /// What can be used for good, in thousandths of a core: the baseline of all processors together.
    pub fn sustained(&self) -> u64 {
        self.earned / SPENT
    }

    /// As many credits as can be had without a start.
    pub fn full(&self) -> Balance {
        Balance { earned: self.kept, launch: 0 }
    }

    /// What a machine has that was just started. T2 loses what it had when it stops, so that a change of its size leaves it
    /// with this.
    pub fn started(&self) -> Balance {
        Balance { earned: 0, launch: self.launch }
    }

    /// How long a steady load of so many thousandths of a core goes well.
    pub fn course(&self, balance: Balance, demand: u64) -> Course {
        let spent = demand.saturating_mul(SPENT);
        let short = i128::from(spent) - i128::from(self.earned);
        let short_hourly = i64::try_from(short).unwrap_or(i64::MAX);
        let Some(rate) = u64::try_from(short).ok().filter(|rate| *rate > 0) else {
            return Course { lasts: None, short: short_hourly };
        };
        // Credits of the start go first. Meanwhile others are earned, up to the most that is kept.
        let first = milliseconds(balance.launch, spent);
        let earned = (u128::from(balance.earned) + u128::from(self.earned) * first / HOUR)
            .min(u128::from(self.kept.max(balance.earned)));
        let then = earned * HOUR / u128::from(rate);
        Course { lasts: Some(duration(first + then)), short: short_hourly }
    }

    /// The credits after a time under a steady load, and how much of the load the machine carried in it, in thousandths of
    /// a core on average.
    pub fn after(&self, balance: Balance, demand: u64, time: Duration) -> (Balance, u64) {
        let time = time.as_millis();
        let part = |hourly: u64| clip(u128::from(hourly) * time / HOUR);
        let (income, wanted) = (part(self.earned), part(demand.saturating_mul(SPENT)));
        let launch = wanted.min(balance.launch);
        let rest = wanted - launch;
        let there = balance.earned.saturating_add(income);
        let spent = rest.min(there);
        let left = Balance {
            earned: (there - spent).min(self.kept.max(balance.earned)),
            launch: balance.launch - launch,
        };
        let carried = (u128::from(launch + spent) * HOUR)
            .checked_div(time * u128::from(SPENT))
            .map_or(demand, |carried| clip(carried).min(demand));
        (left, carried)
    }

    /// The highest average over a time that these credits allow, in thousandths of a core of all processors together; the
    /// machine can do no more than `cores`, in thousandths, whatever it has.
    pub fn highest_average(&self, balance: Balance, cores: u64, time: Duration) -> u64 {
        let time = time.as_millis();
        let all =
            u128::from(balance.earned) + u128::from(balance.launch) + u128::from(self.earned) * time / HOUR;
        (all * HOUR).checked_div(time * u128::from(SPENT)).map_or(cores, |average| clip(average).min(cores))
    }

    /// What a steady load costs in unlimited mode beyond the machine's price, in millionths of a currency unit an hour,
    /// where a processor costs `surplus` of them an hour. Charged for what is used beyond what is earned.
    pub fn surplus_cost(&self, demand: u64, surplus: u64) -> u64 {
        let beyond = demand.saturating_mul(SPENT).saturating_sub(self.earned);
        clip(u128::from(beyond) * u128::from(surplus) / 60_000)
    }
}

/// How long an amount lasts at an hourly rate, in milliseconds.
fn milliseconds(amount: u64, hourly: u64) -> u128 {
    (u128::from(amount) * HOUR).checked_div(u128::from(hourly)).unwrap_or(0)
}

fn duration(milliseconds: u128) -> Duration {
    Duration::from_millis(clip(milliseconds))
}

fn clip(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Earns 24 an hour, keeps 576, gets 60 at its start.
    const T2_MEDIUM: Burst = Burst { earned: 24_000, kept: 576_000, launch: 60_000 };
    const T2_MICRO: Burst = Burst { earned: 6_000, kept: 144_000, launch: 30_000 };
    const DAY: Duration = Duration::from_secs(86_400);

    fn minutes(burst: Burst, balance: Balance, demand: u64) -> Option<u64> {
        burst.course(balance, demand).lasts.map(|time| (time.as_millis() as u64 + 30_000) / 60_000)
    }

    #[test]
    fn the_story_s_machines() {
        let both = Balance { earned: 576_000, launch: 60_000 };
        let (full, started) = (T2_MEDIUM.full(), T2_MEDIUM.started());
        for (burst, balance, demand, lasts, short) in [
            // Half of two processors: 60 an hour are spent and 24 earned.
            (T2_MEDIUM, full, 1_000, Some(16 * 60), 36_000),
            (T2_MEDIUM, started, 1_000, Some(100), 36_000),
            // The first hour is paid from the start's credits, and nothing can be earned beyond the full 576 meanwhile.
            (T2_MEDIUM, both, 1_000, Some(17 * 60), 36_000),
            // Half of one processor, as `docker stats` counts it.
            (T2_MEDIUM, full, 500, Some(96 * 60), 6_000),
            (T2_MEDIUM, full, 400, None, 0),
            (T2_MEDIUM, full, 0, None, -24_000),
            (T2_MICRO, T2_MICRO.full(), 1_000, Some(160), 54_000),
            (T2_MICRO, T2_MICRO.started(), 1_000, Some(33), 54_000),
            // Two workers that share one processor's work, and their agents.
            (T2_MEDIUM, full, 550, Some(64 * 60), 9_000),
            (T2_MEDIUM, started, 550, Some(400), 9_000),
        ] {
            let course = burst.course(balance, demand);
            assert_eq!(
                (minutes(burst, balance, demand), course.short),
                (lasts, short),
                "{demand} {balance:?}"
            );
        }
        // Three machines that share 1.3 processors.
        let short = T2_MEDIUM.course(full, 1_300_u64.div_ceil(3)).short;
        assert!((1_950..2_100).contains(&short), "{short}");
        assert_eq!((T2_MEDIUM.sustained(), T2_MICRO.sustained()), (400, 100));
    }

    #[test]
    fn no_day_s_average_is_above_what_credits_allow() {
        let percent = |balance| {
            let average = T2_MEDIUM.highest_average(balance, 2_000, DAY);
            (average as f64 / 2_000.0 * 1_000.0).round() / 10.0
        };
        let after_start = Balance { earned: 0, launch: 60_000 };
        let both = Balance { earned: 576_000, launch: 60_000 };
        assert_eq!((percent(both), percent(after_start)), (42.1, 22.1));
        assert_eq!(T2_MEDIUM.highest_average(both, 2_000, Duration::ZERO), 2_000);
        assert_eq!(T2_MEDIUM.highest_average(both, 2_000, Duration::from_secs(3_600)), 2_000);
    }

    #[test]
    fn unlimited_mode_charges_what_is_not_earned() {
        // 36 credits an hour at $0.05 for a processor's hour.
        assert_eq!(T2_MEDIUM.surplus_cost(1_000, 50_000), 30_000);
        assert_eq!(T2_MEDIUM.surplus_cost(400, 50_000), 0);
    }

    #[test]
    fn a_machine_without_credits_gets_what_it_earns() {
        let (left, carried) = T2_MEDIUM.after(Balance::default(), 1_000, Duration::from_secs(3_600));
        assert_eq!((left, carried), (Balance::default(), 400));
        let (left, carried) = T2_MEDIUM.after(T2_MEDIUM.started(), 1_000, Duration::from_secs(3_600));
        assert_eq!((left, carried), (Balance { earned: 24_000, launch: 0 }, 1_000));
    }

    proptest! {
        #[test]
        fn nothing_is_kept_beyond_the_limit_and_nothing_carried_beyond_the_load(
            earned in 0..576_000_u64, launch in 0..60_000_u64, demand in 0..5_000_u64, seconds in 0..400_000_u64,
        ) {
            let balance = Balance { earned, launch };
            let (left, carried) = T2_MEDIUM.after(balance, demand, Duration::from_secs(seconds));
            prop_assert!(left.earned <= 576_000 && left.launch <= launch && carried <= demand);
        }

        #[test]
        fn the_load_is_carried_until_the_credits_are_spent(
            earned in 0..576_000_u64, launch in 0..60_000_u64, demand in 450..2_000_u64,
        ) {
            let balance = Balance { earned, launch };
            let lasts = T2_MEDIUM.course(balance, demand).lasts.unwrap();
            // Minute by minute, as the hypervisor does it.
            let (mut balance, mut seconds) = (balance, 0);
            while seconds < 1_000_000 {
                let (left, carried) = T2_MEDIUM.after(balance, demand, Duration::from_secs(60));
                if carried < demand.saturating_sub(1) {
                    break;
                }
                (balance, seconds) = (left, seconds + 60);
            }
            prop_assert!(lasts.as_secs().abs_diff(seconds) <= 120 + seconds / 100, "{lasts:?} {seconds}");
        }
    }
}
