//! What virtual machines in containers say of themselves, though nothing in their images could be asked.

use std::time::{Duration, Instant};

use bowline_compose::engine::Engine;
use bowline_core::capacity::runtime::vitals::Vitals;
use bowline_testkit::host::Host;
use bowline_testkit::java;

use crate::{far, near};

async fn vitals(engine: &Engine, name: &str) -> Option<Vitals> {
    let program = engine.program(name).await.unwrap();
    let files = engine.counters(name, &program.user).await.unwrap();
    Vitals::of_container(files.iter().map(Vec::as_slice), program.started)
}

/// Starts a virtual machine that keeps 40 MiB alive, makes 500 MiB of garbage and has 20 threads.
fn start(host: &Host, name: &str, docker: &[&str], options: &[&str]) {
    let run = ["run", "--detach", "--name", name];
    let java = ["java:1", "-Xmx128m", "-cp", "/app"];
    host.docker([&run[..], docker, &java[..], options, &["Hold", "40", "500", "20"]].concat());
    let end = Instant::now() + Duration::from_secs(60);
    while !host.docker(["logs", name]).contains("ready") {
        assert!(Instant::now() < end, "{}", host.docker(["logs", name]));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_machine_says_what_is_alive_without_a_tool_in_its_image() {
    let Some(host) = Host::start("e-java") else { return };
    if java::make(&host, "java:1").is_none() {
        return;
    }
    // The folder's name is that of a user: root, one that is named, one whose name only the image knows.
    let (serial, large) = (["-XX:+UseSerialGC"], vec![0_u8; 6 << 20]);
    let all = [
        ("root", &[][..], &serial[..], "Serial young collection pauses"),
        ("named", &["--user", "app"], &["-XX:+UseG1GC"], "G1 young collection pauses"),
        ("numbered", &["--user", "7:7"], &["-XX:+UseParallelGC"], "Parallel young collection pauses"),
    ];
    for (name, docker, options, _) in all {
        start(&host, name, docker, options);
    }
    start(&host, "silent", &[], &["-XX:-UsePerfData"]);
    start(&host, "elsewhere", &["--tmpfs", "/tmp"], &serial);
    // Something large that comes before the folder in the order of names.
    start(&host, "full", &["--user", "7"], &serial);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), large).unwrap();
    host.docker(["cp", file.path().to_str().unwrap(), "full:/tmp/a"]);
    for engine in [near(&host).await, far(&host).await] {
        for (name, _, _, collector) in all {
            let vitals = vitals(&engine, name).await.unwrap();
            assert_eq!(vitals.collector.as_deref(), Some(collector), "{name}");
            let live = vitals.live.unwrap() >> 20;
            assert!((40..48).contains(&live) && vitals.collections > 2, "{name}: {vitals:?}");
            assert_eq!(vitals.heap_limit, Some(128 << 20), "{name}");
            // 20 that stay, as many that ended, and its own.
            let (now, peak) = (vitals.threads.unwrap(), vitals.threads_peak.unwrap());
            assert!((25..35).contains(&now) && (45..55).contains(&peak), "{name}: {now} {peak}");
            let counted = engine.program(name).await.unwrap().threads.unwrap();
            assert!(counted > now, "{name}: the engine counts those that run no Java too: {counted} {now}");
        }
        for name in ["silent", "elsewhere", "full"] {
            assert_eq!(vitals(&engine, name).await, None, "{name}");
        }
    }
    // What an earlier run left behind is not taken for what runs now.
    host.docker(["kill", "root"]);
    host.docker(["start", "root"]);
    let engine = near(&host).await;
    let started = engine.program("root").await.unwrap().started.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let found = vitals(&engine, "root").await;
        if let Some(vitals) = found {
            assert!(vitals.started.unwrap() + 2_000 >= started, "{vitals:?}");
            break;
        }
        assert!(Instant::now() < end, "it did not come back");
        std::thread::sleep(Duration::from_millis(200));
    }
}
