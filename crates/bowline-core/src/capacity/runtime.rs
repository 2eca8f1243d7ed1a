//! What a service runs on, read from the command line and the environment of its main process. A virtual machine
//! decides itself how much memory it takes, so that what was measured says what it was allowed and not what it needs.

pub mod counters;
pub mod vitals;

use std::collections::BTreeMap;

use crate::quantity::parse_size;

/// What a service runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// A Java virtual machine.
    Jvm(Jvm),
    /// Something whose memory is what it asks for.
    Plain,
}

/// A Java virtual machine and how it was told to behave. Sizes are bytes; none where nothing was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jvm {
    /// What it runs, where that is known.
    pub program: Program,
    /// `-Xmx`.
    pub heap: Option<u64>,
    /// `-Xms`.
    pub initial: Option<u64>,
    /// The environment variable by which its heap can be set, whatever else is said, without touching other options: what
    /// else a variable holds is nobody's business. None where each of them holds something.
    pub variable: Option<&'static str>,
    /// `-XX:MaxRAMPercentage`, in tenths of a percent; without it and `-Xmx` it is a quarter.
    pub share: Option<u64>,
    /// `-XX:MaxMetaspaceSize`.
    pub metaspace: Option<u64>,
    /// `-XX:ReservedCodeCacheSize`.
    pub code: Option<u64>,
    /// `-XX:MaxDirectMemorySize`.
    pub direct: Option<u64>,
    /// `-Xss`.
    pub stack: Option<u64>,
    /// `server.tomcat.threads.max`, as far as the command line and the environment tell.
    pub tomcat: Property,
    /// `spring.datasource.hikari.maximum-pool-size`, likewise.
    pub pool: Property,
    /// `spring.threads.virtual.enabled`: a request then takes no thread of Tomcat's.
    pub virtual_threads: bool,
}

/// A number that Spring was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Property {
    /// The number; none where neither command line nor environment says one.
    pub value: Option<u32>,
    /// The environment variable by which another one can be given. None where it would not be heard: arguments and system
    /// properties go before the environment (Spring Boot, "Externalized Configuration").
    pub variable: Option<&'static str>,
}

/// A program that brings its own rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Program {
    /// A Kafka broker.
    Kafka,
    /// A service with Spring Boot.
    Spring,
    /// Anything else.
    #[default]
    Other,
}

/// The smallest heap that HotSpot takes for a machine that is not small itself: 96 MiB, by 1.3 on 64 bits, in whole pages.
const SMALL: u64 = 126 << 20;

impl Runtime {
    /// Reads a command line and an environment. Of options that are given twice the last counts, in the order in which the
    /// virtual machine reads them: `JAVA_TOOL_OPTIONS`, `JDK_JAVA_OPTIONS`, the command line, `_JAVA_OPTIONS`
    /// (java(1); JVM Tool Interface, "The JAVA_TOOL_OPTIONS Environment Variable").
    pub fn read(command: &[String], environment: &BTreeMap<String, String>) -> Self {
        let is_java = |first: &String| first.rsplit('/').next() == Some("java");
        if !command.first().is_some_and(is_java) {
            return Self::Plain;
        }
        let mut jvm = Jvm { program: program(command, environment), ..Jvm::default() };
        let words = |variable: &str| {
            let text = environment.get(variable).map(String::as_str).unwrap_or_default();
            text.split_whitespace().collect::<Vec<_>>()
        };
        let mut all = [words("JAVA_TOOL_OPTIONS"), words("JDK_JAVA_OPTIONS")].concat();
        all.extend(command.iter().skip(1).map(String::as_str));
        all.extend(words("_JAVA_OPTIONS"));
        for option in &all {
            jvm.hear(option);
        }
        jvm.variable = jvm.free_variable(environment);
        let spring = Spring { words: &all, environment };
        jvm.tomcat = spring.number("server.tomcat.threads.max", &["SERVER_TOMCAT_THREADS_MAX"]);
        // Both are heard: dashes may be left out, or be underscores.
        jvm.pool = spring.number(
            "spring.datasource.hikari.maximum-pool-size",
            &["SPRING_DATASOURCE_HIKARI_MAXIMUMPOOLSIZE", "SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE"],
        );
        jvm.virtual_threads = spring
            .told("spring.threads.virtual.enabled", &["SPRING_THREADS_VIRTUAL_ENABLED"])
            .is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"));
        Self::Jvm(jvm)
    }
}

impl Jvm {
    /// How large its heap may get where it sees so much memory: its container's limit, or the machine's. HotSpot takes a
    /// share of it (`MaxRAMPercentage`, a quarter), half of it where that is less than 126 MiB, and never less than these
    /// (JDK 17, `Arguments::set_heap_size`).
    pub fn heap_limit(&self, memory: u64) -> u64 {
        let share = u128::from(memory) * u128::from(self.share.unwrap_or(250)) / 1000;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        let by_memory = if memory / 2 < SMALL { memory / 2 } else { share.max(SMALL) };
        self.heap.unwrap_or(by_memory)
    }

    fn free_variable(&self, environment: &BTreeMap<String, String>) -> Option<&'static str> {
        let is_heap = |option: &str| option.starts_with("-Xmx") || option.starts_with("-Xms");
        let is_free = |variable: &&str| {
            environment.get(*variable).is_none_or(|value| value.split_whitespace().all(is_heap))
        };
        let candidates: &[&'static str] = match self.program {
            Program::Kafka => &["KAFKA_HEAP_OPTS"],
            // Only the last that is read goes before what the command line says.
            _ if self.heap.is_some() || self.initial.is_some() => &["_JAVA_OPTIONS"],
            _ => &["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"],
        };
        candidates.iter().copied().find(is_free)
    }

    fn hear(&mut self, option: &str) {
        let size = |prefix: &str| option.strip_prefix(prefix).and_then(|text| parse_size(text).ok());
        if let Some(bytes) = size("-Xmx").or_else(|| size("-XX:MaxHeapSize=")) {
            self.heap = Some(bytes);
        } else if let Some(bytes) = size("-Xms").or_else(|| size("-XX:InitialHeapSize=")) {
            self.initial = Some(bytes);
        } else if let Some(bytes) = size("-Xss").or_else(|| thread_stack(option)) {
            self.stack = Some(bytes);
        } else if let Some(bytes) = size("-XX:MaxMetaspaceSize=") {
            self.metaspace = Some(bytes);
        } else if let Some(bytes) = size("-XX:ReservedCodeCacheSize=") {
            self.code = Some(bytes);
        } else if let Some(bytes) = size("-XX:MaxDirectMemorySize=") {
            self.direct = Some(bytes);
        } else if let Some(percent) = option.strip_prefix("-XX:MaxRAMPercentage=") {
            let tenths = percent.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let tenths = tenths.map(|percent| (percent * 10.0).round() as u64);
            self.share = tenths.or(self.share);
        }
    }
}

/// What Spring is told outside of its files: arguments go before system properties, these before the environment, and the
/// environment before the files.
struct Spring<'a> {
    words: &'a [&'a str],
    environment: &'a BTreeMap<String, String>,
}

impl<'a> Spring<'a> {
    /// What a property is said to be, and the variable that says so where it is one.
    fn told(&self, property: &str, variables: &[&'static str]) -> Option<(&'a str, Option<&'static str>)> {
        let given = |prefix: &str| {
            let value = |word: &&'a str| word.strip_prefix(prefix)?.strip_prefix(property)?.strip_prefix('=');
            self.words.iter().rev().find_map(value)
        };
        given("--").or_else(|| given("-D")).map(|value| (value, None)).or_else(|| {
            let of = |name: &&'static str| Some((self.environment.get(*name)?.trim(), Some(*name)));
            variables.iter().find_map(of)
        })
    }

    /// A property that is a number. Of the variables the first that is there counts, else the last is the one to set.
    fn number(&self, property: &str, variables: &[&'static str]) -> Property {
        match self.told(property, variables) {
            Some((value, variable)) => Property { value: value.parse().ok(), variable },
            // A document in the environment goes before other variables.
            None if self.environment.contains_key("SPRING_APPLICATION_JSON") => Property::default(),
            None => Property { value: None, variable: variables.last().copied() },
        }
    }
}

/// `-XX:ThreadStackSize=` counts in units of 1024 bytes.
fn thread_stack(option: &str) -> Option<u64> {
    option.strip_prefix("-XX:ThreadStackSize=")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn program(command: &[String], environment: &BTreeMap<String, String>) -> Program {
    let has = |part: &str| command.iter().any(|word| word.contains(part));
    if has("kafka.Kafka") {
        Program::Kafka
    } else if ["org.springframework.boot", "-Dspring.", "--spring.", "--server.port"].into_iter().any(has)
        || environment.keys().any(|name| name.starts_with("SPRING_"))
    {
        Program::Spring
    } else {
        Program::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: &str, environment: &[(&str, &str)]) -> Runtime {
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Runtime::read(&command, &environment.collect())
    }

    #[test]
    fn the_last_option_counts_in_the_order_in_which_java_reads_them() {
        let heap = |command, environment: &[(&str, &str)]| match read(command, environment) {
            Runtime::Jvm(jvm) => jvm.heap,
            Runtime::Plain => panic!("{command}"),
        };
        let (tool, launcher, last) = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS");
        for (command, environment, megabytes) in [
            ("java -jar a.jar", &[][..], None),
            ("/opt/java/bin/java -Xmx256m -jar a.jar", &[], Some(256)),
            ("java -Xmx256m -XX:MaxHeapSize=128m -jar a.jar", &[], Some(128)),
            ("java -jar a.jar", &[(tool, "-Xmx64m")], Some(64)),
            ("java -jar a.jar", &[(tool, "-Xmx64m"), (launcher, "-Xmx65m")], Some(65)),
            ("java -Xmx1g -jar a.jar", &[(tool, "-Xmx64m")], Some(1024)),
            ("java -Xmx1g -jar a.jar", &[(last, "-XX:+UseSerialGC -Xmx66m")], Some(66)),
            ("java -Xmxnonsense -jar a.jar", &[], None),
        ] {
            assert_eq!(heap(command, environment), megabytes.map(|size: u64| size << 20), "{command}");
        }
        assert_eq!(read("nginx -g daemon off;", &[(tool, "-Xmx64m")]), Runtime::Plain);
        assert_eq!(read("", &[]), Runtime::Plain);
    }

    #[test]
    fn what_the_program_was_told_is_read() {
        let Runtime::Jvm(jvm) = read(
            "java -Xss512k -XX:MaxRAMPercentage=62.5 -XX:ThreadStackSize=256 -jar a.jar --server.tomcat.threads.max=30",
            &[("SERVER_TOMCAT_THREADS_MAX", "20"), ("SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE", "5")],
        ) else {
            panic!()
        };
        assert_eq!(
            (jvm.tomcat.value, jvm.pool.value, jvm.stack, jvm.share),
            (Some(30), Some(5), Some(256 << 10), Some(625))
        );
        assert_eq!((jvm.heap_limit(1000), Jvm::default().heap_limit(1 << 30)), (500, 256 << 20));
        // Half of little, a flat 126 MiB for a while, then a quarter.
        let sizes =
            [128_u64, 256, 400, 504, 512, 1024].map(|size| Jvm::default().heap_limit(size << 20) >> 20);
        assert_eq!(sizes, [64, 126, 126, 126, 128, 256]);
        let Runtime::Jvm(broker) = read("java -Xmx1G -Xms1G -cp x kafka.Kafka server.properties", &[]) else {
            panic!()
        };
        assert_eq!((broker.program, broker.heap_limit(1 << 30)), (Program::Kafka, 1 << 30));
    }

    #[test]
    fn spring_hears_arguments_before_properties_before_the_environment() {
        let jvm = |command, environment: &[(&str, &str)]| match read(command, environment) {
            Runtime::Jvm(jvm) => jvm,
            Runtime::Plain => panic!("{command}"),
        };
        let (tomcat, canonical) = ("SERVER_TOMCAT_THREADS_MAX", "SPRING_DATASOURCE_HIKARI_MAXIMUMPOOLSIZE");
        let usual = "SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE";
        let option = ("JAVA_TOOL_OPTIONS", "-Dserver.tomcat.threads.max=40");
        let argument = "java -jar a.jar --server.tomcat.threads.max=30";
        let max = "server.tomcat.threads.max";
        for (command, environment, value, variable) in [
            ("java -jar a.jar", &[][..], None, Some(tomcat)),
            ("java -jar a.jar", &[(tomcat, " 20 ")], Some(20), Some(tomcat)),
            ("java -jar a.jar", &[(tomcat, "20"), option], Some(40), None),
            (argument, &[(tomcat, "20"), option], Some(30), None),
            ("java -jar a.jar", &[("SPRING_APPLICATION_JSON", max)], None, None),
        ] {
            assert_eq!(jvm(command, environment).tomcat, Property { value, variable }, "{command}");
        }
        assert_eq!(jvm("java -jar a.jar", &[]).pool.variable, Some(usual));
        assert_eq!(
            jvm("java -jar a.jar", &[(usual, "5"), (canonical, "6")]).pool,
            Property { value: Some(6), variable: Some(canonical) }
        );
        let profile = ("SPRING_PROFILES_ACTIVE", "prod");
        assert_eq!(jvm("java -jar a.jar", &[profile]).program, Program::Spring);
        assert_eq!(jvm("java -jar a.jar", &[]).program, Program::Other);
        let threads = ("SPRING_THREADS_VIRTUAL_ENABLED", "true");
        assert!(jvm("java -jar a.jar", &[threads]).virtual_threads);
    }

    #[test]
    fn the_heap_is_set_where_nothing_else_is_touched() {
        let variable = |command, environment: &[(&str, &str)]| match read(command, environment) {
            Runtime::Jvm(jvm) => jvm.variable,
            Runtime::Plain => panic!("{command}"),
        };
        let other = ("JAVA_TOOL_OPTIONS", "-javaagent:a.jar");
        for (command, environment, expected) in [
            ("java -jar a.jar", &[][..], Some("JAVA_TOOL_OPTIONS")),
            ("java -jar a.jar", &[other], Some("_JAVA_OPTIONS")),
            ("java -jar a.jar", &[other, ("_JAVA_OPTIONS", "-Dx=y")], None),
            ("java -Xmx1g -jar a.jar", &[], Some("_JAVA_OPTIONS")),
            ("java -Xms1g -jar a.jar", &[], Some("_JAVA_OPTIONS")),
            ("java -jar a.jar", &[("_JAVA_OPTIONS", "-Xmx66m -javaagent:a.jar")], None),
            ("java -Xmx1G -cp x kafka.Kafka", &[], Some("KAFKA_HEAP_OPTS")),
        ] {
            assert_eq!(variable(command, environment), expected, "{command} {environment:?}");
        }
    }
}
