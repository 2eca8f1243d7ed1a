//! The registry: reached, logged in to, read from. Nothing is written: whether the login may push is seen at a push.

use bowline_core::reference::Repository;
use bowline_oci::credential::{Credential, Credentials};
use bowline_oci::registry::{Client, Options, RegistryError};

use super::Findings;
use crate::config::Config;
use crate::operation::depot;

const SUBJECT: &str = "registry";
/// No release has such a tag.
const NOBODYS_TAG: &str = "bowline-doctor-looks-for-nothing";

pub(super) async fn look(findings: &mut Findings, config: &Config) {
    let Some(repository) = &config.repository else {
        findings.ok(SUBJECT, format!("the embedded one, in {}", depot::directory().display()));
        return;
    };
    let credentials = Credentials::from_environment();
    let login = match credentials.find(&repository.registry, &repository.name).await {
        Ok(None) => "without a login",
        Ok(Some(Credential::Password { .. })) => "with name and password",
        Ok(Some(_)) => "with an identity token",
        Err(error) => {
            let text =
                format!("the login for {} cannot be found out: {}", repository.registry, chain(&error));
            findings.fail(SUBJECT, text, error.hint());
            return;
        }
    };
    let plain = config.insecure.then(|| repository.registry.clone()).into_iter().collect();
    let client = match Client::new(Options { credentials, plain, ..Options::default() }) {
        Ok(client) => client,
        Err(error) => return findings.fail(SUBJECT, chain(&error), error.hint()),
    };
    match ask(&client, repository).await {
        Ok(count) => findings.ok(SUBJECT, format!("{repository} answers {login}, and lists {count} tags")),
        Err(error) => findings.fail(SUBJECT, chain(&error), error.hint()),
    }
}

async fn ask(client: &Client, repository: &Repository) -> Result<usize, RegistryError> {
    client.ping(repository).await?;
    client.head_manifest(&repository.tagged(NOBODYS_TAG)).await?;
    Ok(client.tags(repository).await?.len())
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
