//! Manifests that others wrote, as they are: planned, tried out and run on a real cluster, with small images in place of
//! theirs.

use std::path::Path;

use bowline_testkit::{fixture, image};

use crate::cluster::Harbour;

/// One service in place of somebody's image.
struct Stand {
    name: &'static str,
    /// What the manifests call the image.
    claim: &'static str,
    /// Further lines of its Dockerfile.
    lines: &'static [&'static str],
}

const fn stand(name: &'static str, claim: &'static str, lines: &'static [&'static str]) -> Stand {
    Stand { name, claim, lines }
}

const SHOP: [Stand; 13] = [
    stand("adservice", "adservice", &[]),
    stand("cartservice", "cartservice", &["ENV PORT=7070"]),
    stand("checkoutservice", "checkoutservice", &[]),
    stand("currencyservice", "currencyservice", &[]),
    stand("emailservice", "emailservice", &[]),
    stand("frontend", "frontend", &["ENV HEALTH_PATH=/_healthz"]),
    stand("loadgenerator", "loadgenerator", &[]),
    stand("paymentservice", "paymentservice", &[]),
    stand("productcatalogservice", "productcatalogservice", &[]),
    stand("recommendationservice", "recommendationservice", &[]),
    stand("shippingservice", "shippingservice", &[]),
    stand("redis", "redis:alpine", &["ENV PORT=6379"]),
    // The one that has a shell: a container that waits for the frontend.
    stand(
        "busybox",
        "busybox:1.38.0",
        &["COPY tools /bin/sh", "COPY tools /bin/wget", "COPY tools /bin/awk", "COPY tools /bin/seq"],
    ),
];

const VOTES: [Stand; 5] = [
    stand("vote", "dockersamples/examplevotingapp_vote", &["ENV PORT=80"]),
    stand("result", "dockersamples/examplevotingapp_result", &["ENV PORT=80"]),
    stand("worker", "dockersamples/examplevotingapp_worker", &["ENV PORT=none"]),
    stand("redis", "redis:alpine", &["ENV PORT=6379"]),
    stand("db", "postgres:15-alpine", &["ENV PORT=5432"]),
];

/// Writes the project: the manifests as they are, and a service for each image.
fn write(harbour: &Harbour, manifests: &Path, stands: &[Stand]) -> Option<()> {
    for old in ["k8s", "users", "web"] {
        std::fs::remove_dir_all(harbour.work.path().join(old)).unwrap();
    }
    let folder = harbour.work.path().join("k8s");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(manifests).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    std::fs::copy(image::busybox().ok()?, harbour.work.path().join("tools")).unwrap();
    let mut text = harbour.configuration(&[], "start = \"240s\"\nsettle = \"1s\"\n", "");
    for Stand { name, claim, lines } in stands {
        harbour.service(name, "1", lines);
        text += &format!(
            "[services.{name}]\ninputs = [\"{name}/**\"]\ncontext = \".\"\ndockerfile = \"{name}/Dockerfile\"\n\
             images = [\"{claim}\"]\n"
        );
    }
    harbour.work.write("bowline.toml", text);
    Some(())
}

fn runs_as_it_is(hint: &str, manifests: &str, stands: &[Stand], workloads: usize) {
    let Some(manifests) = fixture::foreign(manifests) else { return };
    let Some(harbour) = Harbour::open(hint) else { return };
    write(&harbour, &manifests, stands).expect("busybox is installed (scripts/setup kubernetes)");
    harbour.merge("[minor] as they wrote it");
    // So that the server can try out every object.
    harbour.cluster.make_namespace();
    harbour.run(&["release"]).exits(0);
    let plan = harbour.run(&["plan", "cluster"]).exits(0);
    let created = plan.out.lines().filter(|line| line.trim_start().starts_with("create")).count();
    assert!(created > workloads, "{plan}");
    assert!(!plan.out.contains("not checked by the server"), "{plan}");
    assert!(harbour.names().is_empty(), "a plan changes nothing");

    let ran = harbour.run(&["deploy", "cluster"]).exits(0);
    let deployments = harbour.get(&["deployments"]);
    let items = deployments["items"].as_array().unwrap();
    assert_eq!(items.len(), workloads);
    for item in items {
        assert_eq!(item["status"]["readyReplicas"], item["spec"]["replicas"], "{}", item["metadata"]["name"]);
    }
    let registry = harbour.cluster.registry().unwrap();
    for (name, image) in harbour.images() {
        assert!(image.starts_with(registry) && image.contains("@sha256:"), "{name}: {image}");
    }
    let (before, pods) = (harbour.resource_versions(), harbour.pods());
    let plan = harbour.run(&["plan", "cluster"]).exits(0);
    assert!(plan.out.contains("nothing to do"), "{plan}");
    let diff = harbour.run(&["diff", "cluster", "--json"]).exits(0).summary();
    assert_eq!(diff["drift"], serde_json::json!([]), "{diff}");
    harbour.run(&["deploy", "cluster"]).exits(0);
    assert_eq!((harbour.resource_versions(), harbour.pods()), (before, pods));
    assert_eq!(harbour.work.git(["status", "--short"]), "", "their files are as they were");
    harbour.is_at_rest();
    eprintln!("{} objects in {:.1?}", harbour.names().len(), ran.took);
}

#[test]
fn a_shop_of_eleven_services_runs_from_the_manifests_that_its_team_wrote() {
    runs_as_it_is("shop", "microservices-demo/kubernetes-manifests", &SHOP, 12);
}

#[test]
fn a_voting_application_runs_from_the_manifests_that_its_team_wrote() {
    runs_as_it_is("vote", "voting-app/k8s-specifications", &VOTES, 5);
}
