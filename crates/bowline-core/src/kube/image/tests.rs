use serde_json::json;

use super::*;
use crate::digest::Digest;
use crate::kube::object::identify;

const REPOSITORY: &str = "123.dkr.ecr.eu-west-1.amazonaws.com/chat";

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

/// Services with their claims, at version 5.0.2-abc.
fn ours(services: &[(&str, &[&str])]) -> OurImages {
    let image = |(service, claims): &(&str, &[&str])| {
        let id = ImageId {
            manifest: Digest::of(service.as_bytes()),
            config: Digest::of(b"config"),
            platform: "linux/amd64".parse().unwrap(),
        };
        let claims = claims.iter().map(|claim| claim.parse().unwrap()).collect();
        (name(service), OurImage { claims, id, tag: format!("{service}_v5.0.2-abc") })
    };
    OurImages {
        repository: REPOSITORY.parse().unwrap(),
        template: TagTemplate::default(),
        services: services.iter().map(image).collect(),
    }
}

fn manifest(value: Value) -> Manifest {
    let origin = Origin { file: "a.yaml".into(), line: 1, column: 1 };
    Manifest { id: identify(&value).unwrap(), version: "v1".into(), value, origin }
}

fn pod(image: &str) -> Manifest {
    manifest(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "chat"},
        "spec": {"containers": [{"name": "app", "image": image}]}}))
}

#[test]
fn an_image_is_ours_by_a_claim_or_by_its_whole_service() {
    let ours = ours(&[
        ("user", &["main-service_user-server", "ghcr.io/x/user:5"]),
        ("super-user", &[]),
        ("a_b", &[]),
    ]);
    let digest = Digest::of(b"old");
    let current = ours.services[&name("user")].id.manifest;
    for (image, service) in [
        ("main-service_user-server", Some("user")),
        ("main-service_user-server:latest", Some("user")),
        ("docker.io/library/main-service_user-server:latest", Some("user")),
        ("ghcr.io/x/user:5", Some("user")),
        ("main-service_user-server:5", None),
        ("ghcr.io/x/user", None),
        (&format!("main-service_user-server@{digest}"), None),
        (&format!("{REPOSITORY}:user_v5.0.1-abf2154"), Some("user")),
        (&format!("{REPOSITORY}:super-user_v5.0.1"), Some("super-user")),
        (&format!("{REPOSITORY}:user_v5.0.1@{digest}"), Some("user")),
        (&format!("{REPOSITORY}:a_b_v1.0.0"), Some("a_b")),
        (&format!("{REPOSITORY}:user_latest"), Some("user")),
        (&format!("{REPOSITORY}@{current}"), Some("user")),
        ("123.dkr.ecr.eu-west-1.amazonaws.com/other:user_v5.0.1", None),
        ("user_v5.0.1", None),
        ("redis:7", None),
    ] {
        let mut manifests = [pod(image)];
        let pinned = pin(&mut manifests, &ours);
        let now = manifests[0].value["spec"]["containers"][0]["image"].as_str().unwrap();
        let expected = service.map_or(image.to_owned(), |service| {
            let digest = Digest::of(service.as_bytes());
            format!("{REPOSITORY}:{service}_v5.0.2-abc@{digest}")
        });
        assert_eq!(now, expected, "{image}");
        assert_eq!(pinned.pins.first().map(|pin| pin.service.as_str()), service, "{image}");
        assert_eq!(pinned.problems, []);
        let foreign = |doubt: &Doubt| matches!(doubt, Doubt::Unused(_));
        assert!(pinned.warnings.iter().all(foreign), "{image}: {:?}", pinned.warnings);
    }
}

#[test]
fn images_of_our_repository_that_nothing_explains_stay_and_are_said() {
    let ours = ours(&[("user", &[])]);
    let digest = Digest::of(b"old");
    for tag in [":super-user_v5.0.1", ":xuser_v5.0.1", ":v5.0.1", "", ":user", &format!("@{digest}")] {
        let image = format!("{REPOSITORY}{tag}");
        let mut manifests = [pod(&image)];
        let pinned = pin(&mut manifests, &ours);
        assert_eq!(manifests[0], pod(&image));
        assert!(
            matches!(pinned.warnings.as_slice(), [Doubt::Unexplained(place), Doubt::Unused(_)] if place.image == image),
            "{pinned:?}"
        );
    }
}

#[test]
fn templates_are_followed() {
    let mut ours = ours(&[("user", &[]), ("x_user", &[])]);
    ours.template = "x_{service}__{version}".parse().unwrap();
    for (tag, service) in [("x_user__5.0.1", "user"), ("x_x_user__5.0.1", "x_user"), ("user_v1", "user")] {
        let pinned = pin(&mut [pod(&format!("{REPOSITORY}:{tag}"))], &ours);
        assert_eq!(pinned.pins[0].service, name(service), "{tag}");
    }
}

#[test]
fn all_containers_of_all_kinds_are_found_and_the_places_are_told() {
    let ours = ours(&[("user", &["user"]), ("chat", &["chat"])]);
    let spec = json!({"initContainers": [{"name": "i", "image": "user"}], "containers": [
        {"name": "c", "image": "redis"}, {"name": "d", "image": "chat"}, {"name": "e"}],
        "ephemeralContainers": [{"name": "f", "image": "user:latest"}]});
    let mut manifests = [
        manifest(
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "j", "namespace": "n"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}),
        ),
        manifest(
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "r", "namespace": "n"},
            "spec": {"template": {"spec": spec}}}),
        ),
    ];
    let before = manifests[1].clone();
    let pinned = pin(&mut manifests, &ours);
    let pins: Vec<_> =
        pinned.pins.iter().map(|pin| (pin.place.container.as_str(), pin.service.as_str())).collect();
    assert_eq!(pins, [("i", "user"), ("d", "chat"), ("f", "user")]);
    assert_eq!(pinned.pins[1].place.pointer, "/spec/jobTemplate/spec/template/spec/containers/1/image");
    assert!(pinned.pins.iter().all(Pin::is_change));
    assert_eq!(manifests[1], before);
    let custom: Vec<_> = pinned
        .warnings
        .iter()
        .filter_map(|doubt| match doubt {
            Doubt::Custom(place, service) => Some((place.container.as_str(), service.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(custom, [("d", "chat"), ("f", "user"), ("i", "user")]);
    assert_eq!(pinned.warnings.len(), 3);
    // A second time nothing changes.
    let again = pin(&mut manifests, &ours);
    assert_eq!(again.pins.len(), 3);
    assert!(!again.pins.iter().any(Pin::is_change));
}

#[test]
fn what_is_odd_is_said() {
    let ours = ours(&[("user", &["x"]), ("chat", &["x:latest"]), ("mail", &[])]);
    let mut manifests = [pod("x"), pod("$IMAGE")];
    let pinned = pin(&mut manifests, &ours);
    assert_eq!(manifests[0], pod("x"));
    let problems: Vec<_> = pinned.problems.iter().map(Contest::to_string).collect();
    assert_eq!(
        problems,
        [
            "`x:latest` cannot be the image of chat and user at once: see their `images`",
            "Pod chat/p, container app (a.yaml:1:1): `x` cannot be the image of chat and user at once: see their `images`",
        ]
    );
    assert!(
        matches!(pinned.warnings.as_slice(), [Doubt::Unreadable(place), Doubt::Unused(service)]
            if place.image == "$IMAGE" && *service == name("mail")),
        "{pinned:?}"
    );
}
