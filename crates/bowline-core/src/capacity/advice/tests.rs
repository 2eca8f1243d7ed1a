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
    Facts { runtime, given: Given::default(), threads: None, vitals: None }
}

/// A virtual machine that something was cleared away in after two days.
fn seasoned() -> Vitals {
    Vitals { collected: Some(2 * 86_400_000), threads: Some(30), threads_peak: Some(30), ..Vitals::default() }
}

fn why(advice: &Advice, setting: &Setting) -> String {
    advice.lines.iter().find(|line| line.setting == *setting).unwrap().why.clone()
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
        assert!(advice.lines.iter().all(|line| !line.shrinks()), "{word}: {:?}", advice.lines);
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
    known.vitals = Some(Vitals { live: Some(60 << 20), ..seasoned() });
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

#[test]
fn what_is_alive_counts_from_a_day_after_the_start() {
    // It grew to what it may, and little of it is alive.
    let course = Course { memory: 700 << 20, limit: 768 << 20, ..Course::default() };
    let (heap, memory) = (Setting::Variable("_JAVA_OPTIONS".to_owned()), Setting::Memory);
    let with = |vitals: Vitals| {
        let mut known = facts("java -Xmx512m -jar user.jar");
        known.vitals = Some(Vitals { heap_limit: Some(512 << 20), ..vitals });
        advice(course.clone(), known)
    };
    let alive = |mebi: u64| Vitals { live: Some(mebi << 20), ..seasoned() };
    let advice = with(alive(100));
    assert_eq!(advised(&advice, &heap), Some(Amount::Text("-Xmx200m".to_owned())));
    let collector = Some("Parallel young collection pauses".to_owned());
    let parallel = with(Vitals { collector, ..alive(100) });
    assert_eq!(advised(&parallel, &heap), Some(Amount::Text("-Xmx250m".to_owned())));
    let early = with(Vitals { collected: Some(86_399_999), ..alive(100) });
    assert_eq!(advised(&early, &heap), None);
    assert!(why(&early, &memory).contains("from a day after its start"), "{early:?}");
    // A bound is no ground for more.
    let full = with(alive(300));
    assert_eq!(advised(&full, &heap), None);
    assert!(why(&full, &memory).contains("up to 300 MiB of it can be alive: its old generation"), "{full:?}");
    let cleared = with(Vitals { old_collections: 3, ..alive(300) });
    assert!(why(&cleared, &memory).contains("up to 300 MiB of it can be alive)"), "{cleared:?}");
}

#[test]
fn the_smaller_of_two_figures_that_are_enough_counts() {
    // It can have held 195 MiB, and two thirds of what its old generation holds may be dead.
    let mut known = facts("java -jar user.jar");
    known.vitals = Some(Vitals { live: Some(180 << 20), heap_limit: Some(1 << 30), ..seasoned() });
    let advice = advice(Course { memory: 300 << 20, ..Course::default() }, known);
    let heap = advised(&advice, &Setting::Variable("JAVA_TOOL_OPTIONS".to_owned()));
    assert_eq!(heap, Some(Amount::Text("-Xmx244m".to_owned())));
}

#[test]
fn classes_take_what_they_took_and_some_more() {
    let memory = |metaspace: Option<u64>, collected: u64, command: &str| {
        let mut known = facts(command);
        let size = metaspace.map(|size| size << 20);
        known.vitals = Some(Vitals { metaspace: size, collected: Some(collected), ..seasoned() });
        let advice = advice(Course { limit: 2 << 30, memory: 1 << 20, ..Course::default() }, known);
        let text = why(&advice, &Setting::Memory);
        text.split_once("metaspace ").unwrap().1.split_once(',').unwrap().0.to_owned()
    };
    let (day, hour, command) = (86_400_000, 3_600_000, "java -jar user.jar");
    assert_eq!(memory(Some(40), day, command), "46 MiB");
    assert_eq!(memory(Some(40), hour, command), "96 MiB");
    assert_eq!(memory(Some(200), hour, command), "230 MiB");
    assert_eq!(memory(None, day, command), "96 MiB");
    let limited = "java -XX:MaxMetaspaceSize=128m -jar user.jar";
    assert_eq!(memory(Some(40), day, limited), "46 MiB");
    assert_eq!(memory(Some(200), day, limited), "128 MiB");
    assert_eq!(memory(None, day, limited), "128 MiB");
}

/// A service with Spring that had so many threads that run Java, and twelve others.
fn crowded(command: &str, peak: u32) -> Facts {
    let mut known = facts(command);
    known.threads = Some(peak - 4 + 12);
    known.vitals = Some(Vitals { threads: Some(peak - 4), threads_peak: Some(peak), ..seasoned() });
    known
}

#[test]
fn tomcat_may_make_twice_the_threads_that_it_needed() {
    let tomcat = Setting::Variable("SERVER_TOMCAT_THREADS_MAX".to_owned());
    let course = || Course { memory: 300 << 20, ..Course::default() };
    let found = advice(course(), crowded(SPRING, 45));
    let line = found.lines.iter().find(|line| line.setting == tomcat).unwrap();
    assert_eq!((&line.advised, line.frees), (&Amount::Text("50".to_owned()), Some(150 << 20)));
    assert!(line.now.is_none() && line.why.contains("may make 200") && line.shrinks(), "{line:?}");
    // 57 threads there were, 25 of them for requests, which are to be 50.
    assert!(why(&found, &Setting::Memory).contains("82 threads' stacks 82 MiB (it had 57)"), "{found:?}");

    // Nothing of it in a short window: then memory is there for twice what there was.
    let short = advice(Course { minutes: 60, limit: 64 << 20, ..course() }, crowded(SPRING, 45));
    assert_eq!(advised(&short, &tomcat), None);
    assert!(why(&short, &Setting::Memory).contains("114 threads' stacks"), "{short:?}");
    // Nor where there were many, where it is not heard, where no request takes a thread, or where it is no Spring.
    for (command, peak) in [
        (SPRING, 75),
        ("java -Dspring.a=b -Dserver.tomcat.threads.max=200 -jar a.jar", 45),
        ("java -Dspring.a=b -Dspring.threads.virtual.enabled=true -jar a.jar", 45),
        ("java -jar a.jar", 45),
    ] {
        assert_eq!(advised(&advice(course(), crowded(command, peak)), &tomcat), None, "{command}");
    }
    // A stack of its own size frees as much.
    let small = advice(course(), crowded(&SPRING.replace("-jar", "-Xss256k -jar"), 45));
    let line = small.lines.iter().find(|line| line.setting == tomcat).unwrap();
    assert_eq!(line.frees, Some(150 << 18));
}

#[test]
fn no_request_waits_that_did_not_wait_before() {
    for peak in 12..60 {
        let tomcat = Setting::Variable("SERVER_TOMCAT_THREADS_MAX".to_owned());
        let advice = advice(Course::default(), crowded(SPRING, peak));
        let Some(Amount::Text(advised)) = advised(&advice, &tomcat) else { panic!("{peak}: {advice:?}") };
        assert!(advised.parse::<u32>().unwrap() >= peak - 11, "{peak}: {advised}");
    }
}

#[test]
fn connections_that_no_request_can_use_are_too_many() {
    let pool = Setting::Variable("SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE".to_owned());
    let with = |size: &str, course: Course| {
        let mut known = crowded(SPRING, 45);
        let variables = [("SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE".to_owned(), size.to_owned())].into();
        let command: Vec<String> = SPRING.split(' ').map(str::to_owned).collect();
        known.runtime = Runtime::read(&command, &variables);
        advised(&advice(course, known), &pool)
    };
    assert_eq!(with("80", Course::default()), Some(Amount::Text("50".to_owned())));
    assert_eq!(with("50", Course::default()), None);
    assert_eq!(with("80", Course { minutes: 60, ..Course::default() }), None);
    assert_eq!(advised(&advice(Course::default(), crowded(SPRING, 45)), &pool), None);
}

#[test]
fn never_less_memory_than_was_held() {
    let mut known = crowded(SPRING, 45);
    known.vitals = Some(Vitals { live: Some(1), metaspace: Some(1), ..known.vitals.unwrap() });
    let advice = advice(Course { memory: 600 << 20, limit: 2 << 30, ..Course::default() }, known);
    assert_eq!(advised(&advice, &Setting::Memory), Some(Amount::Bytes(660 << 20)));
}

#[test]
fn a_limit_that_holds_back_is_doubled_whatever_the_window() {
    let given = |cpu_limit| Given { cpu_limit: Some(cpu_limit), ..Given::default() };
    let held = |throttled, millicores| Course { minutes: 10, throttled, millicores, ..Course::default() };
    let plain = |limit| Facts { given: given(limit), ..facts("chat") };
    let limit = |course, limit| advised(&advice(course, plain(limit)), &Setting::CpuLimit);
    // By what the kernel counts; by what is used up, where nobody counts; and no more than there is.
    assert_eq!(limit(held(300, 180), 200), Some(Amount::Cores(400)));
    assert_eq!(limit(held(0, 195), 200), Some(Amount::Cores(400)));
    assert_eq!(limit(held(300, 900), 1_500), Some(Amount::Cores(2_000)));
    assert_eq!(limit(held(300, 900), 2_000), None);
    assert_eq!(limit(held(0, 100), 200), None);
    let used_up = advice(Course { millicores: 195, ..Course::default() }, plain(200));
    assert!(used_up.doubts.iter().any(|doubt| doubt.seen.contains("0.20 CPU")), "{:?}", used_up.doubts);
}

#[test]
fn what_was_killed_gets_more_than_its_limit() {
    let course = |limit: u64| Course { memory: limit, limit, oom_kills: 2, minutes: 10, ..Course::default() };
    for (limit, more) in [(64 << 20, 164 << 20), (1 << 30, 1_229 << 20)] {
        let advice = advice(course(limit), facts("chat"));
        assert_eq!(advised(&advice, &Setting::Memory), Some(Amount::Bytes(more)), "{advice:?}");
    }
}
