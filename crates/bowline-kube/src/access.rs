//! How a cluster is reached: by a kubeconfig, from inside of it, or through a stream that somebody else opens.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::cluster::Cluster;
use crate::dial::{Dialer, Opener, authority};
use crate::error::{KubeError, chain};
use crate::login::{Credential, Login};

/// Where the distributions keep a control plane's own kubeconfig, in the order to try; `~` is the login's home.
pub const CONTROL_PLANE_KUBECONFIGS: [&str; 3] =
    ["/etc/kubernetes/admin.conf", "/etc/rancher/k3s/k3s.yaml", "~/.kube/config"];

impl Cluster {
    /// Reaches the cluster of a context (none: the current one) of the kubeconfig: those that `KUBECONFIG` lists, or
    /// `~/.kube/config`; without any, the cluster that this runs in. No request is made yet.
    pub async fn connect(context: Option<&str>) -> Result<Self, KubeError> {
        let files =
            kubeconfig_files(std::env::var_os("KUBECONFIG").as_deref(), std::env::home_dir().as_deref());
        let inside = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        if inside && context.is_none() && !files.iter().any(|file| file.exists()) {
            let config = Config::incluster().map_err(|error| KubeError::Kubeconfig {
                place: "of this pod's service account".into(),
                reason: chain(&error),
            })?;
            return open(config, "of this pod's service account", None, Dialer::Direct).await;
        }
        Self::connect_by(&files, context).await
    }

    /// Reaches the cluster of a context (none: the current one) of some kubeconfigs; the first that names a thing
    /// counts, those that do not exist are passed over. No request is made yet.
    pub async fn connect_by(files: &[PathBuf], context: Option<&str>) -> Result<Self, KubeError> {
        let (kubeconfig, place) = read(files)?;
        let mut proxy = proxy_of(&kubeconfig, context);
        let (config, name) = select(kubeconfig, &place, context).await?;
        let (host, _) = authority(&config.cluster_url);
        if proxy.is_none() && !is_exempt(&host, &environment("NO_PROXY")) {
            proxy = Some(environment("HTTPS_PROXY")).filter(|proxy| !proxy.is_empty());
        }
        let dialer = match proxy {
            None => Dialer::Direct,
            Some(proxy) => Dialer::Proxy { at: parse_proxy(&proxy, &place)? },
        };
        open(config, &place, name, dialer).await
    }

    /// Reaches a cluster through streams that `opener` opens to the address in the kubeconfig: over SSH, from the
    /// control plane's own machine. `kubeconfig` is a text that was read at `place` (for errors), `context` one of its
    /// contexts (none: the current one). TLS is spoken inside, with the name that the kubeconfig has; it may name no
    /// files and no programs, since those would be the other machine's. No request is made yet.
    pub async fn connect_through(
        kubeconfig: &str,
        place: &str,
        context: Option<&str>,
        opener: Opener,
    ) -> Result<Self, KubeError> {
        let wrong = |reason: String| KubeError::Kubeconfig { place: place.to_owned(), reason };
        let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(|error| wrong(explain(&error)))?;
        let foreign = foreign(&parsed, context);
        if !foreign.is_empty() {
            return Err(wrong(format!(
                "{} would be looked for on this machine; have it embedded there: kubectl config view --flatten --raw",
                foreign.join(" and ")
            )));
        }
        let (config, name) = select(parsed, place, context).await?;
        open(config, place, name, Dialer::Through(opener)).await
    }
}

fn environment(name: &str) -> String {
    [name.to_owned(), name.to_lowercase()]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default()
}

/// Where a kubeconfig is looked for.
fn kubeconfig_files(list: Option<&OsStr>, home: Option<&Path>) -> Vec<PathBuf> {
    let listed = list.map(|list| std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()));
    let listed: Vec<_> = listed.into_iter().flatten().collect();
    match home {
        Some(home) if listed.is_empty() => vec![home.join(".kube").join("config")],
        _ => listed,
    }
}

/// Reads kubeconfigs into one, as kubectl does: what is not there is passed over.
fn read(files: &[PathBuf]) -> Result<(Kubeconfig, String), KubeError> {
    let there: Vec<_> = files.iter().filter(|file| file.exists()).collect();
    let names = |files: &mut dyn Iterator<Item = String>| files.collect::<Vec<_>>();
    if there.is_empty() {
        let mut tried = names(&mut files.iter().map(|file| file.display().to_string()));
        if tried.is_empty() {
            tried.push("KUBECONFIG, and there is no home directory".into());
        }
        return Err(KubeError::NoKubeconfig { tried });
    }
    let place = names(&mut there.iter().map(|file| file.display().to_string())).join(", ");
    let mut whole = Kubeconfig::default();
    for file in there {
        whole = Kubeconfig::read_from(file).and_then(|next| whole.merge(next)).map_err(|error| {
            KubeError::Kubeconfig { place: file.display().to_string(), reason: explain(&error) }
        })?;
    }
    Ok((whole, place))
}

/// A parser's message quotes what it could not read: in a kubeconfig that may be a key.
fn explain(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(location) => {
                format!("it is no kubeconfig (line {}, column {})", location.line(), location.column())
            }
            None => "it is no kubeconfig".into(),
        },
        error => chain(error),
    }
}

/// The configuration of one context, and its name.
async fn select(
    kubeconfig: Kubeconfig,
    place: &str,
    context: Option<&str>,
) -> Result<(Config, Option<String>), KubeError> {
    let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let current = kubeconfig.current_context.clone().filter(|name| !name.is_empty());
    let name = context.map(str::to_owned).or(current);
    if name.as_ref().is_none_or(|name| !known.contains(name)) {
        return Err(KubeError::NoContext { context: name, place: place.to_owned(), known });
    }
    let options = KubeConfigOptions { context: name.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config =
        config.map_err(|error| KubeError::Kubeconfig { place: place.to_owned(), reason: explain(&error) })?;
    Ok((config, name))
}

/// What a context's kubeconfig names that is on the machine where it was written.
fn foreign(kubeconfig: &Kubeconfig, context: Option<&str>) -> Vec<String> {
    let name = context.or(kubeconfig.current_context.as_deref());
    let context = kubeconfig.contexts.iter().find(|context| Some(context.name.as_str()) == name);
    let Some(context) = context.and_then(|context| context.context.as_ref()) else { return Vec::new() };
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.as_ref());
    let user = kubeconfig.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user = user.and_then(|user| user.auth_info.as_ref());
    let mut found = Vec::new();
    let mut note = |path: Option<&String>, embedded: bool| {
        found
            .extend(path.filter(|path| !embedded && !path.is_empty()).map(|path| format!("the file {path}")));
    };
    if let Some(cluster) = cluster {
        note(cluster.certificate_authority.as_ref(), cluster.certificate_authority_data.is_some());
    }
    if let Some(user) = user {
        note(user.client_certificate.as_ref(), user.client_certificate_data.is_some());
        note(user.client_key.as_ref(), user.client_key_data.is_some());
        note(user.token_file.as_ref(), user.token.is_some());
        let program = user.exec.as_ref().map(|exec| exec.command.clone().unwrap_or_default());
        found.extend(program.map(|program| format!("the program {program}")));
        found.extend(user.auth_provider.as_ref().map(|provider| format!("the login of {}", provider.name)));
    }
    found
}

/// The proxy that the kubeconfig itself names for a context.
fn proxy_of(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let name = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == name)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?;
    cluster.cluster.as_ref()?.proxy_url.clone().filter(|proxy| !proxy.is_empty())
}

/// Whether a host is one that `NO_PROXY` lists: itself, a domain that it is in, or everything. Kube compares the
/// proxy's own name with that list, so that this is not left to it.
fn is_exempt(host: &str, list: &str) -> bool {
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let listed = |entry: &str| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        let below = host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        entry == "*" || (!domain.is_empty() && below) || contains(entry, host)
    };
    loopback || list.split(',').map(str::trim).any(listed)
}

/// Whether a block like `10.0.0.0/8` contains an IPv4 address.
fn contains(block: &str, host: &str) -> bool {
    let parts = block.split_once('/').and_then(|(network, bits)| Some((network, bits.parse::<u32>().ok()?)));
    let Some((network, bits @ 1..=32)) = parts else { return false };
    let address = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
    match (address(network), address(host)) {
        (Some(network), Some(host)) => (network ^ host) >> (32 - bits) == 0,
        _ => false,
    }
}

fn parse_proxy(proxy: &str, place: &str) -> Result<(String, u16), KubeError> {
    let wrong = |reason: &str| KubeError::Kubeconfig { place: place.to_owned(), reason: reason.to_owned() };
    let text = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    let uri: Uri = text.parse().map_err(|_| wrong("the address of the proxy cannot be understood"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("its proxy is no http:// proxy, and Bowline speaks to no other"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("its proxy wants a login, which Bowline does not give"));
    }
    Ok(authority(&uri))
}

/// A cluster from a configuration; logs in where that takes a program.
async fn open(
    mut config: Config,
    place: &str,
    context: Option<String>,
    dialer: Dialer,
) -> Result<Cluster, KubeError> {
    let mut server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    if matches!(dialer, Dialer::Through(_)) {
        server += &format!(" (through {place})");
    }
    let login = match config.auth_info.exec.take() {
        Some(exec) if !has_credentials(&config.auth_info) => {
            let login = Login::new(&server, exec);
            match login.run().await? {
                Credential::Token(token) => {
                    login.remember(token).await;
                    Some(login)
                }
                Credential::Certificate { chain, key } => {
                    config.auth_info.client_certificate_data = Some(STANDARD.encode(chain));
                    config.auth_info.client_key_data = Some(STANDARD.encode(key).into());
                    None
                }
            }
        }
        _ => None,
    };
    Cluster::open(&config, &server, context, login, dialer)
        .map_err(|reason| KubeError::Kubeconfig { place: place.to_owned(), reason })
}

/// Kubectl asks the program only where nothing else is given.
fn has_credentials(user: &AuthInfo) -> bool {
    user.token.is_some() || user.token_file.is_some() || (user.username.is_some() && user.password.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfigs_are_looked_for_where_kubectl_does() {
        let home = Some(Path::new("/home/a"));
        assert_eq!(kubeconfig_files(None, home), [PathBuf::from("/home/a/.kube/config")]);
        assert_eq!(kubeconfig_files(Some(OsStr::new("")), home), [PathBuf::from("/home/a/.kube/config")]);
        let listed = kubeconfig_files(Some(OsStr::new("/a:/b:")), home);
        assert_eq!(listed, [PathBuf::from("/a"), PathBuf::from("/b")]);
        let missing = read(&[PathBuf::from("/nowhere/config")]).unwrap_err();
        assert_eq!(missing.to_string(), "there is no kubeconfig: looked at /nowhere/config");
    }

    #[test]
    fn no_proxy_means_hosts_domains_blocks_and_everything() {
        for (host, list, exempt) in [
            ("api.corp.test", "corp.test", true),
            ("api.corp.test", ".corp.test", true),
            ("api.corp.test", "*.corp.test", true),
            ("apicorp.test", "corp.test", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("anything", "*", true),
            ("127.0.0.1", "", true),
            ("api.corp.test", "", false),
        ] {
            assert_eq!(is_exempt(host, list), exempt, "{host} and {list}");
        }
    }

    #[tokio::test]
    async fn a_context_that_is_not_there_is_answered_with_those_that_are() {
        let text = "contexts: [{name: prod, context: {cluster: c, user: u}}, {name: dev, context: {cluster: c}}]\n\
                    clusters: [{name: c, cluster: {server: 'https://a:6443'}}]\nusers: []\n";
        let parsed = || Kubeconfig::from_yaml(text).unwrap();
        let error = select(parsed(), "~/.kube/config", Some("prd")).await.unwrap_err();
        assert_eq!(error.to_string(), "the kubeconfig ~/.kube/config has no context `prd`");
        assert_eq!(error.hint().unwrap(), "name one of them as the target's `context`: prod, dev");
        let error = select(parsed(), "x", None).await.unwrap_err();
        assert_eq!(error.to_string(), "the kubeconfig x has no current context");
        let error = select(parsed(), "x", Some("prod")).await;
        assert!(error.is_ok());
    }

    #[test]
    fn a_kubeconfig_of_another_machine_runs_no_program_and_reads_no_file_here() {
        let text = "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n\
                    clusters: [{name: c, cluster: {server: 'https://a:6443', certificate-authority: /ca.crt}}]\n\
                    users: [{name: u, user: {client-certificate: /c.crt, client-key-data: aGk=, \
                    exec: {command: rm, args: ['-rf']}}}]\n";
        let found = foreign(&Kubeconfig::from_yaml(text).unwrap(), None);
        assert_eq!(found, ["the file /ca.crt", "the file /c.crt", "the program rm"]);
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        let error =
            Kubeconfig::from_yaml("users: [{name: u, user: {token: s3cr3t, exec: s3cr3t}}]").unwrap_err();
        assert!(!explain(&error).contains("s3cr3t"), "{}", explain(&error));
    }
}
