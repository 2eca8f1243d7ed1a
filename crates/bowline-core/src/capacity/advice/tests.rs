use super::super::profile::Profile;
use super::*;
use bowline_measurement::interval::{CpuTime, Interval, Machine, Usage};

const MINUTE: i64 = 60_000;
const SPRING: &str = "java -Dspring.profiles.active=prod -jar user.jar";

/// What a service did, minute by minute.
#[derive(Clone)]
struct Course {
    minutes: i64,
    millicores: u64,
    memory: u64,
    limit: u64,
    steal: u64,
    oom_kills: u32,
    throttled: u64,
}

impl Default for Course {
    fn default() -> Self {
        let (minutes, millicores, memory) = (3 * 1_440, 100, 200 << 20);
        Self { minutes, millicores, memory, limit: 0, steal: 0, oom_kills: 0, throttled: 0 }
    }
}

fn profile(services: &[(&str, Course)]) -> Profile {
    let minutes = services.iter().map(|(_, course)| course.minutes).max().unwrap();
    let interval = |minute: i64| {
        let usage = |course: &Course| Usage {
            seen: MINUTE as u64,
            // The first two minutes are its start.
            cpu: if minute < 2 { 1_000 } else { course.millicores } * MINUTE as u64,
            cpu_peak: if minute < 2 { 1_000 } else { course.millicores },
            memory: course.memory,
            memory_limit: course.limit,
            oom_kills: if minute == 5 { course.oom_kills } else { 0 },
            throttled: course.throttled * MINUTE as u64,
            age: (minute + 1) as u64 * MINUTE as u64,
            ..Usage::default()
        };
        let containers = services.iter().map(|(name, course)| (format!("shop/{name}/1"), usage(course)));
        let busy = services.iter().map(|(_, course)| course.millicores).sum::<u64>() * MINUTE as u64;
        let steal = services[0].1.steal * MINUTE as u64;
        let cpu = CpuTime { user: busy, steal, ..CpuTime::default() };
        let machine =
            Machine { cores: 2, cpu, memory: 4 << 30, memory_available: 1 << 30, ..Machine::default() };
        let from = minute * MINUTE;
        Interval {
            from,
            to: from + MINUTE,
            seen: MINUTE as u64,
            samples: 4,
            machine,
            containers: containers.collect(),
        }
    };
    let intervals: Vec<Interval> = (0..minutes).map(interval).collect();
    Profile::new(&intervals, |name| name.split('/').nth(1).map(str::to_owned))
}

fn facts(command: &str) -> Facts {
    let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let runtime = Runtime::read(&command, &BTreeMap::new());
    Facts { runtime, given: Given::default(), threads: None, live: None }
}

fn advice(course: Course, facts: Facts) -> Advice {
    let mut all = advise(&profile(&[("user", course)]), &BTreeMap::from([("user".to_owned(), facts)]));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn advised(advice: &Advice, setting: &Setting) -> Option<Amount> {
    advice.lines.iter().find(|line| line.setting == *setting).map(|line| line.advised.clone())
}

#[test]
fn a_plain_service_gets_what_it_used_and_some_more() {
    let advice = advice(Course::default(), facts("/bin/users"));
    assert_eq!(advised(&advice, &Setting::CpuRequest), Some(Amount::Cores(115)));
    assert_eq!(advised(&advice, &Setting::Memory), Some(Amount::Bytes(230 << 20)));
    assert_eq!((advice.doubts.len(), advice.window.samples), (0, 4 * 3 * 1_440));
    assert!(advice.lines[0].why.contains("while it starts it takes 1.00 CPU"), "{}", advice.lines[0].why);
}

#[test]
fn what_is_about_right_is_left_alone() {
    let mut known = facts("/bin/users");
    known.given = Given { cpu_request: Some(120), memory_limit: Some(240 << 20), ..Given::default() };
    assert_eq!(advice(Course::default(), known).lines, []);
}

#[test]
fn nothing_is_taken_away_on_the_word_of_doubtful_measurements() {
    let mut known = facts("/bin/users");
    known.given = Given { cpu_request: Some(1_000), memory_limit: Some(1 << 30), ..Given::default() };
    let sure = Course::default();
    assert_eq!(advice(sure.clone(), known.clone()).lines.len(), 2);
    for (course, word) in [
        (Course { minutes: 600, ..sure.clone() }, "the window is 10 hours long"),
        (Course { minutes: 30, ..sure.clone() }, "the window is 30 minutes long"),
        (Course { steal: 10, ..sure.clone() }, "the hypervisor kept"),
        (Course { throttled: 20, ..sure.clone() }, "its CPU limit held it back for 2.0 %"),
        (Course { oom_kills: 1, ..sure }, "1 of its processes were killed"),
    ] {
        let advice = advice(course, known.clone());
        assert_eq!(advice.lines, [], "{word}");
        assert!(advice.doubts.iter().any(|doubt| doubt.seen.contains(word)), "{:?}", advice.doubts);
    }
}

#[test]
fn more_is_advised_in_a_short_window_too() {
    let mut known = facts("/bin/users");
    known.given = Given { cpu_request: Some(50), memory_limit: Some(150 << 20), ..Given::default() };
    let advice = advice(Course { minutes: 30, ..Course::default() }, known);
    assert_eq!(advised(&advice, &Setting::Memory), Some(Amount::Bytes(230 << 20)));
    assert_eq!((advice.lines.len(), advice.doubts.len()), (2, 1));
}

#[test]
fn a_virtual_machine_s_heap_is_not_what_it_held() {
    // 4 GiB of memory let the heap grow to 1 GiB; it held 300 MiB in all.
    let mut known = facts(SPRING);
    known.threads = Some(38);
    let course = Course { memory: 300 << 20, ..Course::default() };
    let advice = advice(course.clone(), known.clone());
    let variable = Setting::Variable("JAVA_TOOL_OPTIONS".to_owned());
    assert_eq!(advised(&advice, &variable), Some(Amount::Text("-Xmx252m".to_owned())));
    assert_eq!(advised(&advice, &Setting::Memory), Some(Amount::Bytes(507 << 20)));

    // Who could ask it what is alive knows better.
    known.live = Some(60 << 20);
    let advice =
        advise(&profile(&[("user", course)]), &BTreeMap::from([("user".to_owned(), known)])).remove(0);
    assert_eq!(advised(&advice, &variable), Some(Amount::Text("-Xmx120m".to_owned())));
}

#[test]
fn a_heap_that_is_full_says_nothing_about_what_it_needs() {
    let course = Course { memory: 700 << 20, limit: 768 << 20, ..Course::default() };
    let advice = advice(course, facts("java -Xmx512m -Xms512m -jar user.jar"));
    assert_eq!(advised(&advice, &Setting::Variable("_JAVA_OPTIONS".to_owned())), None);
    // All parts of it do not fit into its limit.
    let memory = advice.lines.iter().find(|line| line.setting == Setting::Memory).unwrap();
    assert!(!memory.shrinks() && memory.why.contains("ask it what is alive"), "{memory:?}");
}

#[test]
fn of_several_brokers_on_one_machine_one_is_enough() {
    let broker = || facts("java -Xmx1G -Xms1G -cp x kafka.Kafka server.properties");
    let names = ["kafka1", "kafka2", "kafka3"];
    let all = names.map(|name| (name, Course { memory: 600 << 20, ..Course::default() }));
    let facts: BTreeMap<String, Facts> = names.map(|name| (name.to_owned(), broker())).into();
    let all = advise(&profile(&all), &facts);
    let enabled: Vec<_> = all.iter().map(|advice| advised(advice, &Setting::Enabled)).collect();
    assert_eq!(enabled, [None, Some(Amount::Flag(false)), Some(Amount::Flag(false))]);
    // Nobody switches a broker off on the word of an hour.
    let hour = names.map(|name| (name, Course { minutes: 60, ..Course::default() }));
    let hour = advise(&profile(&hour), &facts);
    assert!(hour.iter().all(|advice| advised(advice, &Setting::Enabled).is_none()), "{hour:?}");
    let heap = advised(&all[0], &Setting::Variable("KAFKA_HEAP_OPTS".to_owned()));
    assert!(matches!(&heap, Some(Amount::Text(text)) if text.contains("-Xms")), "{heap:?}");
}

#[test]
fn what_nothing_is_known_of_gets_no_advice() {
    assert_eq!(advise(&profile(&[("user", Course::default())]), &BTreeMap::new()), []);
    assert_eq!(advise(&Profile::default(), &BTreeMap::from([("user".to_owned(), facts("a"))])), []);
}

#[test]
fn a_heap_that_is_a_share_of_the_limit_does_not_shrink_with_it() {
    let mut known = facts("java -XX:MaxRAMPercentage=50 -jar user.jar");
    known.given.memory_limit = Some(2 << 30);
    let course = Course { memory: 1000 << 20, limit: 2 << 30, ..Course::default() };
    let advice = advice(course.clone(), known.clone());
    let heap = advised(&advice, &Setting::Variable("JAVA_TOOL_OPTIONS".to_owned()));
    assert_eq!(heap, Some(Amount::Text("-Xmx1024m".to_owned())));
    assert!(matches!(advised(&advice, &Setting::Memory), Some(Amount::Bytes(size)) if size < 2 << 30));
    // Where its heap cannot be set, its limit stays.
    let taken = BTreeMap::from([("JAVA_TOOL_OPTIONS", "-Da=b"), ("_JAVA_OPTIONS", "-Dc=d")]);
    let taken = taken.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let command = ["java", "-XX:MaxRAMPercentage=50", "-jar", "user.jar"].map(str::to_owned);
    known.runtime = Runtime::read(&command, &taken);
    let advice =
        advise(&profile(&[("user", course)]), &BTreeMap::from([("user".to_owned(), known)])).remove(0);
    assert_eq!(advised(&advice, &Setting::Memory), None);
}

#[test]
fn a_small_machine_s_heap_is_not_halved() {
    // 256 MiB: HotSpot takes 126 of them for its heap.
    let course = Course { memory: 230 << 20, limit: 256 << 20, ..Course::default() };
    let advice = advice(course, facts("java -jar user.jar"));
    let heap = advised(&advice, &Setting::Variable("JAVA_TOOL_OPTIONS".to_owned()));
    assert!(heap.is_none() || heap == Some(Amount::Text("-Xmx126m".to_owned())), "{heap:?}");
}
