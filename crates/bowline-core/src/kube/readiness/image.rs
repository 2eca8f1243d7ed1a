//! Why a container's image cannot be had, from what the kubelet says of its runtime's answer.

use serde_json::Value;

use super::Case;
use super::event::{about, newest};
use super::status::{shorten, text};
use super::trouble::{Trouble, Weight};

/// What a failed pull means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pull {
    /// The registry does not have it.
    Missing,
    /// The registry does not let this node have it.
    Refused,
    /// It is there, for other processors.
    Foreign,
    /// Node and registry do not speak the same way: certificates, plain HTTP.
    Untrusted,
    /// Network, rate limits, or nothing that we understand: the kubelet tries again.
    Passing,
}

const PASSING: [&str; 18] = [
    "i/o timeout",
    "connection refused",
    "connection reset",
    "no such host",
    "no route to host",
    "network is unreachable",
    "tls handshake timeout",
    "server misbehaving",
    "temporary failure",
    "toomanyrequests",
    "too many requests",
    "service unavailable",
    "bad gateway",
    "gateway timeout",
    "internal server error",
    "context deadline exceeded",
    "context canceled",
    "no space left",
];
const FOREIGN: [&str; 3] =
    ["no match for platform", "no matching manifest for", "does not match the specified platform"];
const REFUSED: [&str; 9] = [
    "access denied",
    "denied:",
    "unauthorized",
    "authentication required",
    "authorization failed",
    "no basic auth credentials",
    "403 forbidden",
    "insufficient_scope",
    "authorization token has expired",
];
const MISSING: [&str; 6] =
    ["not found", "manifest unknown", "manifest_unknown", "name unknown", "name_unknown", "no such manifest"];
const UNTRUSTED: [&str; 3] =
    ["x509:", "gave http response to https client", "first record does not look like a tls"];

/// What a runtime's message means. The network comes first, since its errors say nothing about the image; refusals come
/// before absence, since registries call both `pull access denied, repository does not exist or may require …`.
fn classify(message: &str, image: &str) -> Pull {
    let message = message.to_lowercase();
    // The image's own name is no evidence: it may be called `access-denied:1`.
    let message = match image {
        "" => message,
        image => message.replace(&image.to_lowercase(), ""),
    };
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&PASSING) {
        Pull::Passing
    } else if says(&FOREIGN) {
        Pull::Foreign
    } else if says(&REFUSED) {
        Pull::Refused
    } else if says(&MISSING) {
        Pull::Missing
    } else if says(&UNTRUSTED) {
        Pull::Untrusted
    } else {
        Pull::Passing
    }
}

/// The reasons by which a container waits for its image (kubernetes: pkg/kubelet/images/types.go and
/// cri-api/pkg/errors; `RegistryUnavailable` was in the former until 1.26).
pub(super) fn is_about_image(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "RegistryUnavailable"
            | "ImageInspectError"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "SignatureValidationFailed"
    )
}

/// The trouble of a container that waits for its image.
///
/// `ErrImagePull` and `ImagePullBackOff` take turns and are one trouble. Until Kubernetes 1.31 the latter does not say
/// why, so the kubelet's events are read as well.
pub(super) fn trouble(
    case: &Case<'_>,
    pod: &Value,
    container: &str,
    image: &str,
    waiting: &Value,
) -> Trouble {
    let reason = text(waiting, "/reason");
    let message = shorten(text(waiting, "/message"));
    let trouble = |words: String| Trouble::new(pod, Weight::Image, words);
    match reason {
        "InvalidImageName" => {
            trouble(format!("InvalidImageName: {image} is not the name of an image")).hopeless()
        }
        "ErrImageNeverPull" => trouble(format!(
            "ErrImageNeverPull: {image} is not on the node, and its imagePullPolicy is Never"
        ))
        .hopeless(),
        "SignatureValidationFailed" => trouble(format!("{reason}: {message}")).hopeless(),
        "ImageInspectError" | "RegistryUnavailable" => trouble(format!("{reason}: {message}")),
        _ => {
            let message = pull_message(case, pod, container, &message);
            let (hopeless, words) = explain(classify(&message, image), image, &message);
            trouble(format!("ErrImagePull: {words}")).hopeless_if(hopeless)
        }
    }
}

fn explain(pull: Pull, image: &str, message: &str) -> (bool, String) {
    match pull {
        Pull::Missing => (true, format!("{image} not found: was it pushed?")),
        Pull::Refused => (
            true,
            format!("the registry refuses {image}: is there a valid imagePullSecret for it? ({message})"),
        ),
        Pull::Foreign => (true, format!("{image} is not built for the processor of this node ({message})")),
        Pull::Untrusted => (
            true,
            format!(
                "the node does not trust the registry of {image}, or speaks TLS where it does not ({message})"
            ),
        ),
        Pull::Passing if message.is_empty() => (false, format!("{image} cannot be pulled yet")),
        Pull::Passing => (false, message.to_owned()),
    }
}

/// What the runtime said: in the container's state, or in the last event of a failed pull.
fn pull_message(case: &Case<'_>, pod: &Value, container: &str, message: &str) -> String {
    // 1.20: `Back-off pulling image "x"`; 1.32 and later: `Back-off pulling image "x": ErrImagePull: …`.
    let told = match message.strip_prefix("Back-off pulling image ") {
        None => message,
        Some(rest) => rest.split_once("\": ").map_or("", |(_, told)| told),
    };
    if !told.is_empty() {
        return told.strip_prefix("ErrImagePull: ").unwrap_or(told).to_owned();
    }
    let failed = about(case.sight.events, pod)
        .filter(|event| event.reason == "Failed" && event.is_about(container))
        .filter(|event| event.message.starts_with("Failed to pull image"));
    let told = newest(failed).map(|event| shorten(event.message)).unwrap_or_default();
    told.split_once("\": ").map_or(told.clone(), |(_, told)| told.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As containerd 1.6 and 1.7, Docker 20.10 and CRI-O put it.
    #[test]
    fn what_a_runtime_says_of_a_pull_is_understood() {
        for (message, expected) in [
            (
                r#"rpc error: code = NotFound desc = failed to pull and unpack image "reg:5000/chat:user_v9": failed to resolve reference "reg:5000/chat:user_v9": reg:5000/chat:user_v9: not found"#,
                Pull::Missing,
            ),
            (
                "rpc error: code = Unknown desc = Error response from daemon: manifest for reg:5000/chat:user_v9 not found: manifest unknown: manifest unknown",
                Pull::Missing,
            ),
            (
                "reading manifest user_v9 in reg:5000/chat: name unknown: The repository with name 'chat' does not exist in the registry",
                Pull::Missing,
            ),
            (
                "rpc error: code = Unknown desc = failed to pull and unpack image: failed to resolve reference: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                Pull::Refused,
            ),
            (
                "failed to resolve reference: unexpected status from HEAD request to https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/chat/manifests/user_v9: 403 Forbidden",
                Pull::Refused,
            ),
            (
                "Error response from daemon: Get https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/: no basic auth credentials",
                Pull::Refused,
            ),
            (
                "failed to do request: Head \"https://reg:5000/v2/chat/manifests/user_v9\": dial tcp 10.0.0.9:5000: connect: connection refused",
                Pull::Passing,
            ),
            ("dial tcp: lookup reg on 10.96.0.10:53: no such host", Pull::Passing),
            (
                "429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit. unauthorized",
                Pull::Passing,
            ),
            ("failed to pull and unpack image: no match for platform in manifest: not found", Pull::Foreign),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Pull::Untrusted,
            ),
            ("http: server gave HTTP response to HTTPS client", Pull::Untrusted),
            ("something that no one has seen before", Pull::Passing),
        ] {
            assert_eq!(classify(message, "reg:5000/chat:user_v9"), expected, "{message}");
        }
    }

    #[test]
    fn the_name_of_an_image_is_no_evidence() {
        let image = "reg/access-unauthorized:1";
        assert_eq!(
            classify("failed to pull reg/access-unauthorized:1: unexpected EOF", image),
            Pull::Passing
        );
    }
}
