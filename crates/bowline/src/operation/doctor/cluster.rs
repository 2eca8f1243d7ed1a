//! A cluster: reached, allowed, in time, with nodes that are ready, and in order.

use std::collections::BTreeSet;

use bowline_core::kube::object::{Kind, Manifest, ObjectId};
use bowline_core::kube::order::runs_pods;
use bowline_core::kube::preflight::{Cluster as Known, Deed, check, rights};
use bowline_core::kube::pull_secret::needs;
use bowline_core::kube::workload::pod_spec;
use bowline_kube::lease::server_time;
use bowline_kube::{GroupVersion, ServerVersion, Wanted};
use bowline_oci::ecr;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::target::clock;
use super::{Findings, order};
use crate::config::{Config, KubernetesTarget, PullSecret};
use crate::operation::cluster::{Site, checkout_manifests, pull_secret_name};
use crate::operation::target::Connected;
use crate::operation::{lock, status};
use crate::ui::{count, table};

/// Server-side apply is as Bowline needs it from here on.
const OLDEST: (u32, u32) = (1, 20);
/// How many minor versions a node may be behind its API server (kubernetes.io, "Version Skew Policy").
const BEHIND: u32 = 3;
/// How long a token of ECR is good for.
const TOKEN: SignedDuration = SignedDuration::from_hours(12);

/// Group and version of the kinds that rights are asked about, besides the manifests' own.
const ASKED: [(&str, &str); 3] = [("", "v1"), ("apps", "v1"), ("coordination.k8s.io", "v1")];

pub(super) async fn look(findings: &mut Findings, config: &Config, target: &KubernetesTarget) {
    let subject = |what: &str| format!("{}: {what}", target.name);
    let site = match Site::connect(config, target).await {
        Ok(site) => site,
        Err(failure) => return findings.broken(&subject("api"), failure),
    };
    let server = match site.cluster.version().await {
        Ok(server) => server,
        Err(error) => return findings.broken(&subject("api"), site.explain("connecting to", &error)),
    };
    version(findings, &subject("api"), &server, site.cluster.server());
    time(findings, &subject("clock"), &site).await;
    nodes(findings, &subject, &site, &server).await;
    let manifests = match checkout_manifests(&site, config).await {
        Ok(manifests) => {
            findings.ok(&subject("manifests"), count(manifests.len(), "object"));
            manifests
        }
        Err(failure) => {
            findings.broken(&subject("manifests"), failure);
            Vec::new()
        }
    };
    allowed(findings, &subject("rights"), &site, &manifests).await;
    pulls(findings, &subject("pulls"), config, &site, &manifests).await;
    let connected = Connected::Cluster(site);
    let (lock, report) = (lock::observe(&connected).await, status::observe(&connected).await);
    if let Ok(report) = &report {
        deployed(findings, &subject, &target.name, report);
    }
    order(findings, &subject, &target.name, lock, report);
}

fn version(findings: &mut Findings, subject: &str, server: &ServerVersion, address: &str) {
    let text = format!("{} at {address}", server.text);
    if (server.major, server.minor) < OLDEST {
        let remedy =
            format!("update the cluster: Bowline is written for {}.{} and newer", OLDEST.0, OLDEST.1);
        findings.fail(subject, text, Some(remedy));
    } else {
        findings.ok(subject, text);
    }
}

async fn time(findings: &mut Findings, subject: &str, site: &Site) {
    let asked = Timestamp::now();
    let told = server_time(&site.documents).await;
    let answered = Timestamp::now();
    match told {
        Ok(Some(theirs)) => {
            // It tells whole seconds, rounded down.
            let theirs = theirs.max(asked.min(theirs + SignedDuration::from_secs(1)));
            clock(findings, subject, asked, answered, theirs);
        }
        Ok(None) => findings.ok(subject, "the API server does not tell the time"),
        Err(error) => findings.broken(subject, site.explain("asking for the time of", &error)),
    }
}

async fn nodes(
    findings: &mut Findings,
    subject: &impl Fn(&str) -> String,
    site: &Site,
    server: &ServerVersion,
) {
    let core = BTreeSet::from([GroupVersion::new("", "v1")]);
    let look = async {
        let catalog = site.cluster.discover(&core).await?;
        match catalog.any(&Kind::new("", "Node")) {
            Some(resource) => site.cluster.list(resource, None).await,
            None => Ok(Vec::new()),
        }
    };
    let nodes = match look.await {
        Ok(nodes) => nodes,
        Err(error) if error.is_forbidden() => {
            let remedy = "allow get and list on nodes, and it is said when one is not ready";
            return findings.warn(&subject("nodes"), error.to_string(), remedy);
        }
        Err(error) => return findings.broken(&subject("nodes"), site.explain("looking at", &error)),
    };
    let ills: Vec<String> = nodes.iter().filter_map(illness).collect();
    let ready = nodes.len() - ills.len();
    let text = format!("{ready} of {} ready", count(nodes.len(), "node"));
    let remedy = "kubectl describe node NAME says why";
    match (ills.is_empty(), ready) {
        (true, 1..) => findings.ok(&subject("nodes"), text),
        (_, 0) => findings.fail(&subject("nodes"), text, Some(remedy.into())),
        _ => findings.warn(&subject("nodes"), format!("{text}: {}", ills.join("; ")), remedy),
    }
    let skewed: Vec<String> = nodes.iter().filter_map(|node| skew(node, server)).collect();
    if !skewed.is_empty() {
        let remedy = format!(
            "update them: a node is never newer than its API server, and at most {BEHIND} versions older"
        );
        findings.warn(&subject("versions"), skewed.join("; "), remedy);
    }
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// What keeps a node from taking pods.
fn illness(node: &Value) -> Option<String> {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let text =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_ill = |condition: &&Value| {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind == "Ready" { status != "True" } else { kind.ends_with("Pressure") && status == "True" }
    };
    let ill = conditions.into_iter().find(is_ill);
    ill.map(|condition| {
        let kind = text(condition, "type");
        let what = if kind == "Ready" { "not ready".to_owned() } else { kind };
        format!("{} is {what} ({})", name(node), text(condition, "reason"))
    })
}

/// A node whose version does not go with its API server's.
fn skew(node: &Value, server: &ServerVersion) -> Option<String> {
    let version = node.pointer("/status/nodeInfo/kubeletVersion")?.as_str()?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor): (u32, u32) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let fits = major == server.major && minor <= server.minor && server.minor - minor <= BEHIND;
    (!fits).then(|| format!("{} has {version}, the API server {}", name(node), server.text))
}

/// What a deploy of this checkout must be allowed.
async fn allowed(findings: &mut Findings, subject: &str, site: &Site, manifests: &[Manifest]) {
    // Whatever a release of it may take: a first deploy, changes, and the way back.
    let deeds = manifests.iter().flat_map(|manifest| {
        let pods = runs_pods(&manifest.id.kind).then_some((&manifest.id, Deed::Await));
        [(&manifest.id, Deed::Create), (&manifest.id, Deed::Change)].into_iter().chain(pods)
    });
    let asked = rights(deeds, &site.namespace);
    let own = manifests.iter().map(|manifest| GroupVersion::new(&manifest.id.kind.group, &manifest.version));
    let versions = own.chain(ASKED.map(|(group, version)| GroupVersion::new(group, version))).collect();
    let ask = async {
        let catalog = site.cluster.discover(&versions).await?;
        site.cluster.denied(|kind| catalog.any(kind), &asked).await
    };
    let denied = match ask.await {
        Ok(denied) => denied,
        Err(error) => return findings.broken(subject, site.explain("asking for the rights on", &error)),
    };
    let known = Known { denied, ..Known::default() };
    let found = check(&[], &known);
    if found.refusals.is_empty() && found.warnings.is_empty() {
        findings.ok(subject, format!("all {} that a deploy needs", asked.len()));
    }
    for refusal in found.refusals {
        findings.fail(subject, refusal.text, Some(refusal.remedy));
    }
    for warning in found.warnings {
        findings.warn(subject, warning.text, warning.remedy);
    }
}

/// Whether nodes can pull: they log in for themselves, by a Secret that somebody keeps fresh or by their machine's role.
async fn pulls(findings: &mut Findings, subject: &str, config: &Config, site: &Site, manifests: &[Manifest]) {
    let Some(repository) = &config.repository else {
        let remedy =
            "name one that its nodes reach: `[registry]` with `repository = \"registry.example/chat\"`";
        return findings.fail(
            subject,
            "the embedded registry cannot be reached from nodes",
            Some(remedy.into()),
        );
    };
    let own = match &site.target.pull_secret {
        PullSecret::Never => BTreeSet::new(),
        PullSecret::Named(name) => needs(manifests, repository, name).own,
        PullSecret::Automatic => needs(manifests, repository, &pull_secret_name(&site.project)).own,
    };
    let named: BTreeSet<ObjectId> = manifests.iter().flat_map(pull_secrets).collect();
    let wanted: BTreeSet<ObjectId> = named.union(&own).cloned().collect();
    let is_ecr = ecr::region(&repository.registry).is_some();
    let look = async {
        let catalog = site.cluster.discover(&BTreeSet::from([GroupVersion::new("", "v1")])).await?;
        site.cluster.observe(&catalog, &Wanted { objects: wanted.clone(), lists: BTreeSet::new() }).await
    };
    let seen = match look.await {
        Ok(seen) => seen,
        Err(error) => {
            return findings.broken(subject, site.explain("looking at the pull secrets of", &error));
        }
    };
    let mut without = true;
    for id in wanted.iter().filter(|id| !seen.unseen.contains(&id.to_string())) {
        let made = site.target.secrets.contains_key(&id.name);
        let released = made || manifests.iter().any(|manifest| manifest.id == *id);
        match seen.objects.get(id) {
            // It is written where there is a login for the registry at the deploy.
            None if own.contains(id) => continue,
            None if released => findings.ok(subject, format!("{id} comes with the next deploy")),
            None => {
                let (name, target) = (&id.name, &site.target.name);
                let remedy =
                    format!("`pull-secret = \"{name}\"` in [targets.{target}] has each deploy write it");
                findings.fail(subject, format!("{id}, an imagePullSecret, is not there"), Some(remedy));
            }
            Some(secret) => judge_secret(findings, subject, id, secret, is_ecr),
        }
        without = false;
    }
    if without {
        let how =
            if is_ecr { "nodes log in by the role of their machines" } else { "nodes pull without a login" };
        findings.ok(subject, format!("no Secret to pull with: {how}"));
    }
}

fn pull_secrets(manifest: &Manifest) -> Vec<ObjectId> {
    let spec = pod_spec(&manifest.id.kind, &manifest.value);
    let account = manifest.id.kind.is("", "ServiceAccount").then_some(&manifest.value);
    let lists = spec.into_iter().chain(account).filter_map(|place| place.get("imagePullSecrets")?.as_array());
    let names = lists.flatten().filter_map(|item| item.get("name")?.as_str());
    let namespace = manifest.id.namespace.as_deref().unwrap_or_default();
    names.map(|name| ObjectId::namespaced("", "Secret", namespace, name)).collect()
}

fn judge_secret(findings: &mut Findings, subject: &str, id: &ObjectId, secret: &Value, is_ecr: bool) {
    let kind = secret.get("type").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "kubernetes.io/dockerconfigjson" | "kubernetes.io/dockercfg") {
        let remedy = format!("make it anew: kubectl create secret docker-registry {}", id.name);
        return findings.fail(
            subject,
            format!("{id} is a Secret of type {kind}, which is no login"),
            Some(remedy),
        );
    }
    match (is_ecr, written(secret)) {
        (true, Some(at)) => {
            let left = TOKEN - Timestamp::now().duration_since(at);
            // Bowline's own is renewed by each deploy: between them, pods that move cannot be pulled.
            let remedy = "deploy again to renew it; for good: a CronJob that renews it, or nodes whose role may read ECR";
            if left <= SignedDuration::ZERO {
                let age = table::span(Timestamp::now().duration_since(at).as_secs());
                let text = format!("{id} was written {age} ago: tokens of ECR live 12 h");
                findings.fail(subject, text, Some(remedy.into()));
            } else {
                findings.warn(subject, format!("{id} is good for {}", table::span(left.as_secs())), remedy);
            }
        }
        _ => findings.ok(subject, id.to_string()),
    }
}

/// When a Secret was last written, as the server notes.
fn written(secret: &Value) -> Option<Timestamp> {
    let noted = secret.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let noted = noted.filter_map(|entry| entry.get("time")?.as_str()?.parse().ok()).max();
    noted.or_else(|| secret.pointer("/metadata/creationTimestamp")?.as_str()?.parse().ok())
}

fn deployed(
    findings: &mut Findings,
    subject: &impl Fn(&str) -> String,
    target: &str,
    report: &status::Report,
) {
    match (report.status.revision, report.drifted.as_slice()) {
        (None, _) => {
            findings.ok(&subject("project"), "nothing was deployed yet; `bowline adopt` takes over what runs")
        }
        (Some(number), []) => {
            let release = report.status.release.as_deref().unwrap_or("what was adopted");
            findings.ok(&subject("project"), format!("{release}, revision {number}"));
        }
        (Some(_), drifted) => {
            let remedy = format!("`bowline diff {target}` shows it; the next deploy sets it right");
            findings.warn(&subject("project"), format!("somebody changed {}", drifted.join(", ")), remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::State;
    use super::*;

    fn state(findings: &Findings) -> Option<State> {
        findings.0.first().map(|finding| finding.state)
    }

    #[test]
    fn a_node_that_is_ill_says_of_what() {
        let node =
            |conditions: Value| json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
        let one = |kind: &str, status: &str| json!([{"type": kind, "status": status, "reason": "R"}]);
        for (conditions, expected) in [
            (one("Ready", "True"), None),
            (one("Ready", "Unknown"), Some("n is not ready (R)")),
            (one("DiskPressure", "False"), None),
            (one("DiskPressure", "True"), Some("n is DiskPressure (R)")),
        ] {
            assert_eq!(illness(&node(conditions)).as_deref(), expected);
        }
    }

    #[test]
    fn nodes_are_never_newer_and_little_older_than_their_server() {
        let server = ServerVersion { major: 1, minor: 33, text: "v1.33.4".into() };
        for (version, fits) in
            [("v1.33.1", true), ("v1.30.9+k3s1", true), ("v1.29.0", false), ("v1.34.0", false), ("?", true)]
        {
            let node =
                json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {"kubeletVersion": version}}});
            assert_eq!(skew(&node, &server).is_none(), fits, "{version}");
        }
    }

    #[test]
    fn a_pull_secret_has_to_be_a_login_and_one_for_ecr_fresh() {
        let at = |hours: i64| (Timestamp::now() - SignedDuration::from_hours(hours)).to_string();
        let secret = |kind: &str, hours: i64| {
            json!({"type": kind, "metadata": {"creationTimestamp": at(99),
            "managedFields": [{"time": at(hours)}]}})
        };
        let login = "kubernetes.io/dockerconfigjson";
        for (secret, is_ecr, expected) in [
            (secret(login, 40), false, State::Ok),
            (secret("Opaque", 1), false, State::Broken),
            (secret(login, 13), true, State::Broken),
            (secret(login, 1), true, State::Warning),
        ] {
            let mut findings = Findings::default();
            let id = ObjectId::namespaced("", "Secret", "chat", "pull");
            judge_secret(&mut findings, "pulls", &id, &secret, is_ecr);
            assert_eq!(state(&findings), Some(expected), "{secret}");
        }
    }

    #[test]
    fn pull_secrets_are_those_of_pods_and_of_their_accounts() {
        let manifest = |group: &str, kind: &str, value: Value| Manifest {
            id: ObjectId::namespaced(group, kind, "chat", "x"),
            version: "v1".into(),
            value,
            origin: bowline_core::kube::object::Origin { file: "a".into(), line: 1, column: 1 },
        };
        let secrets = json!([{"name": "pull"}]);
        let pod = json!({"spec": {"template": {"spec": {"imagePullSecrets": secrets}}}});
        let expected = [ObjectId::namespaced("", "Secret", "chat", "pull")];
        assert_eq!(pull_secrets(&manifest("apps", "Deployment", pod)), expected);
        assert_eq!(
            pull_secrets(&manifest("", "ServiceAccount", json!({"imagePullSecrets": secrets}))),
            expected
        );
        assert!(pull_secrets(&manifest("", "Service", json!({}))).is_empty());
    }
}
