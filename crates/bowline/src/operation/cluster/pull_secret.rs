//! The Secrets with which a cluster's nodes pull our images from a private registry: written at each deploy, with the login
//! that this run itself has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowline_core::kube::conflict::MANAGER;
use bowline_core::kube::object::{Manifest, ObjectId, Origin};
use bowline_core::kube::pull_secret::{Needs, OWN, attach, docker_config, needs};
use bowline_kube::{Catalog, KubeError};
use bowline_oci::credential::Credential;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::goal::Goal;
use super::site::{Registry, Site};
use crate::clock;
use crate::config::PullSecret;
use crate::error::{Failure, Outcome};
use crate::operation::host::with_hint;

/// Whose login a Secret holds: `ci@registry.example`.
const LOGIN: &str = "bowline.dev/login";
/// From when on a login that ends is replaced.
const RENEW: &str = "bowline.dev/renew-after";
/// Where the login stands, and what is not the same each time.
const WITHHELD: [&str; 2] = ["/data/.dockerconfigjson", "/metadata/annotations/bowline.dev~1renew-after"];

/// A login as it is written into Secrets.
struct Login {
    /// `ci@registry.example`.
    whose: String,
    config: String,
    /// When half of its time is over, where it ends.
    renew: Option<Timestamp>,
}

/// Adds the Secrets that nodes need to pull our images, and attaches ours to the ServiceAccounts of their pods. Nothing
/// where there is no login for the registry.
///
/// # Errors
/// When the login cannot be found out, or the cluster does not answer.
pub(super) async fn add(goal: &mut Goal, site: &Site, catalog: &Catalog) -> Outcome<()> {
    let (Some(registry), false) = (&site.registry, site.target.pull_secret == PullSecret::Never) else {
        return Ok(());
    };
    let name = match &site.target.pull_secret {
        PullSecret::Named(name) => name.clone(),
        PullSecret::Automatic | PullSecret::Never => own_name(&site.project),
    };
    let mut needs = needs(&goal.manifests, &registry.repository, &name);
    if let PullSecret::Named(_) = site.target.pull_secret {
        // What is asked for by name is all that is written.
        needs.named.clear();
    }
    if needs.is_empty() {
        return Ok(());
    }
    let Some(login) = find(goal, registry).await? else { return Ok(()) };
    leave_foreign(goal, site, catalog, &mut needs).await?;
    let origin = Origin { file: crate::config::FILE.into(), line: 1, column: 1 };
    for account in &needs.accounts {
        attach(&mut goal.manifests, account, &name, &origin);
    }
    for id in needs.named.into_iter().chain(needs.own) {
        goal.withheld.insert(id.clone(), WITHHELD.map(str::to_owned).into());
        goal.logins.insert(id.clone(), login.whose.clone());
        goal.manifests.push(login.secret(id, &origin));
    }
    Ok(())
}

pub(in crate::operation) fn own_name(project: &str) -> String {
    format!("{OWN}{}", project.replace('_', "-"))
}

async fn find(goal: &mut Goal, registry: &Registry) -> Outcome<Option<Login>> {
    let Registry { repository, credentials, .. } = registry;
    let host = &repository.registry;
    let found = credentials.find(host, &repository.name).await.map_err(|error| {
        let failure = Failure::failed(format!("finding the login with which nodes pull from {host}"));
        with_hint(failure.because(&error), error.hint())
    })?;
    match found {
        None => Ok(None),
        Some(Credential::Identity(_)) => {
            goal.notes.push(format!(
                "the login for {host} is a token that nodes do not take: no Secret is written with it; name one that you \
                 keep yourself in `imagePullSecrets`, or `pull-secret = false` if they need none"
            ));
            Ok(None)
        }
        Some(Credential::Password { username, password, until }) => Ok(Some(Login {
            whose: format!("{username}@{host}"),
            config: docker_config(host, &username, &password),
            renew: until.and_then(half_way),
        })),
    }
}

/// The time at which half of what is left is over.
fn half_way(until: SystemTime) -> Option<Timestamp> {
    let left = until.duration_since(SystemTime::now()).unwrap_or_default() / 2;
    clock::now().checked_add(jiff::SignedDuration::try_from(left).ok()?).ok()
}

impl Login {
    fn secret(&self, id: ObjectId, origin: &Origin) -> Manifest {
        let mut annotations = BTreeMap::from([(LOGIN, self.whose.clone())]);
        annotations.extend(self.renew.map(|at| (RENEW, at.to_string())));
        let value = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": id.name, "namespace": id.namespace, "annotations": annotations},
            "data": {".dockerconfigjson": STANDARD.encode(&self.config)},
        });
        Manifest { id, version: "v1".into(), value, origin: origin.clone() }
    }
}

/// Whether a Secret holds a login of the same account, whose time is not half over: a token that is another one each time
/// need not be written each time.
pub(super) fn is_fresh(wanted: &Value, live: Option<&Value>) -> bool {
    let note = |value: &Value, name: &str| {
        value.pointer("/metadata/annotations")?.get(name)?.as_str().map(str::to_owned)
    };
    let Some(live) = live else { return false };
    let renew = note(live, RENEW).and_then(|at| at.parse::<Timestamp>().ok());
    note(wanted, RENEW).is_some()
        && note(wanted, LOGIN) == note(live, LOGIN)
        && live.get("type") == wanted.get("type")
        && renew.is_some_and(|renew| renew > clock::now())
}

/// Whether a Secret holds a login that Bowline wrote.
pub(super) fn is_login(secret: Option<&Value>) -> bool {
    secret.and_then(|secret| secret.pointer("/metadata/annotations")?.get(LOGIN)).is_some()
}

/// Leaves alone what others made: Secrets that manifests name and that are not ours, with a note; and ServiceAccounts that
/// are not there, of which the check of what is named tells.
async fn leave_foreign(goal: &mut Goal, site: &Site, catalog: &Catalog, needs: &mut Needs) -> Outcome<()> {
    let released: BTreeSet<ObjectId> = goal.manifests.iter().map(|manifest| manifest.id.clone()).collect();
    let ask = async |id: ObjectId| {
        let found = match catalog.any(&id.kind) {
            Some(resource) => site.cluster.get(resource, &id).await?,
            None => None,
        };
        Ok::<_, KubeError>((id, found))
    };
    // Each namespace has the account `default`, if not yet then soon.
    let strange = |id: &&ObjectId| id.name != "default" && !released.contains(*id);
    let asked: Vec<ObjectId> =
        needs.named.iter().chain(needs.accounts.iter().filter(strange)).cloned().collect();
    let answers = futures_util::future::try_join_all(asked.into_iter().map(ask)).await;
    for (id, found) in answers.map_err(|error| site.explain("looking at", &error))? {
        if id.kind.is("", "ServiceAccount") {
            if found.is_none() {
                needs.accounts.remove(&id);
            }
        } else if found.is_some_and(|secret| !is_ours(&secret)) {
            needs.named.remove(&id);
            goal.notes.push(format!(
                "{id}, with which the manifests pull images, was made by somebody else and is left as it is; \
                 `pull-secret = \"{}\"` has it written at each deploy, `pull-secret = false` never",
                id.name
            ));
        }
    }
    Ok(())
}

/// Whether Bowline applied an object.
fn is_ours(object: &Value) -> bool {
    let fields = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    fields.into_iter().flatten().any(|entry| entry.get("manager").and_then(Value::as_str) == Some(MANAGER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(seconds: Option<i64>) -> Value {
        let renew = seconds.map(|seconds| clock::now() + jiff::SignedDuration::from_secs(seconds));
        let login = Login { whose: "AWS@r".into(), config: "{}".into(), renew };
        let origin = Origin { file: "bowline.toml".into(), line: 1, column: 1 };
        login.secret(ObjectId::namespaced("", "Secret", "chat", "s"), &origin).value
    }

    #[test]
    fn a_token_is_replaced_when_half_of_its_time_is_over() {
        let other = {
            let mut other = login(Some(60));
            other["metadata"]["annotations"][LOGIN] = json!("me@r");
            other
        };
        for (live, expected) in [
            (None, false),
            (Some(login(Some(60))), true),
            (Some(login(Some(-1))), false),
            // Nobody knows when that one ends.
            (Some(login(None)), false),
            (Some(other), false),
        ] {
            assert_eq!(is_fresh(&login(Some(3600)), live.as_ref()), expected, "{live:?}");
        }
        // A password is compared as it is.
        assert!(!is_fresh(&login(None), Some(&login(None))));
    }

    #[test]
    fn names_are_those_of_secrets() {
        assert_eq!(own_name("my_chat"), "bowline-registry-my-chat");
    }
}
