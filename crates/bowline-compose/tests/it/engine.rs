use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline_compose::connection::{Address, Connection, Options};
use bowline_compose::document::{Creation, Documents, Kind};
use bowline_compose::engine::{Engine, SAMPLER};
use bowline_compose::lease::Lease;
use bowline_testkit::host::Host;
use tokio::net::{UnixListener, UnixStream};

use crate::{far, near};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_described_near_and_far() {
    let Some(host) = Host::start("e-info") else { return };
    for engine in [near(&host).await, far(&host).await] {
        let machine = engine.machine().await.unwrap();
        assert!(machine.engine.memory > 1 << 20 && machine.engine.cpus > 0, "{machine:?}");
        assert!(machine.engine.disk_free.is_some_and(|free| free > 1 << 20), "{machine:?}");
        assert_eq!(machine.engine.platform.as_ref().unwrap().os, "linux");
        assert!(!machine.containerd_store);
        assert!(engine.containers("chat").await.unwrap().0.is_empty());
        assert!(engine.images().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_dies_is_said_and_found_again() {
    let Some(host) = Host::start("e-kill") else { return };
    for engine in [near(&host).await, far(&host).await] {
        host.kill_engine();
        let begin = std::time::Instant::now();
        let error = engine.containers("chat").await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        assert!(begin.elapsed() < std::time::Duration::from_secs(5));
        assert!(error.hint().is_some());
        host.start_engine();
        assert!(engine.containers("chat").await.unwrap().0.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_there_is_given_back_whole_by_an_engine_that_was_started_again() {
    let Some(host) = Host::start("e-again") else { return };
    let documents = Documents::new(&near(&host).await, "chat").unwrap();
    let first = documents.create(Kind::Spec, "one", &"first").await.unwrap();
    host.kill_engine();
    host.start_engine();
    let documents = Documents::new(&near(&host).await, "chat").unwrap();
    let Creation::Created(written) = first else { panic!("{first:?}") };
    let again = documents.create(Kind::Spec, "one", &"second").await.unwrap();
    assert_eq!(again, Creation::Exists(written));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_one_after_the_other_share_a_connection() {
    let Some(host) = Host::start("e-share") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (socket, accepted) = (folder.path().join("s"), Arc::new(AtomicUsize::new(0)));
    let listener = UnixListener::bind(&socket).unwrap();
    let (engine, count) = (host.docker_host().trim_start_matches("unix://").to_owned(), accepted.clone());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut far = UnixStream::connect(&engine).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let docker_host = Some(format!("unix://{}", socket.display()));
    let options = Options { docker_host, ..Options::default() };
    let connection = Connection::open(&Address::Local, &options).await.unwrap();
    let engine = Engine::open(&connection).await.unwrap();
    let documents = Documents::new(&engine, "chat").unwrap();
    let before = accepted.load(Ordering::Relaxed);
    for _ in 0..5 {
        let lease = Lease::take(&documents, "r1", "deploy").await.unwrap();
        lease.release().await.unwrap();
    }
    // Now and then the one is given back a moment too late.
    let opened = accepted.load(Ordering::Relaxed) - before;
    assert!(opened <= 5, "{opened} for 35 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_the_sampler_s_name_that_somebody_else_made_is_not_deleted() {
    let Some(host) = Host::start("e-forget") else { return };
    let engine = near(&host).await;
    assert!(!engine.stop_sampler(true).await.unwrap(), "nothing is there");
    host.docker(["volume", "create", SAMPLER]);
    let refused = engine.stop_sampler(true).await.unwrap_err().to_string();
    assert!(
        refused.contains("cannot remove volume bowline-gate: it has no label dev.bowline.gate"),
        "{refused}"
    );
    assert_eq!(host.docker(["volume", "ls", "--quiet"]).trim(), SAMPLER);
    host.docker(["volume", "rm", SAMPLER]);
    host.docker(["volume", "create", "--label", "dev.bowline.gate=store", SAMPLER]);
    engine.stop_sampler(true).await.unwrap();
    assert_eq!(host.docker(["volume", "ls", "--quiet"]).trim(), "");
}
