//! Logging in: challenges, tokens and what they are for (distribution's token authentication specification,
//! RFC 9110 section 11, RFC 6750).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;

use crate::credential::Credential;

/// The life of a token that does not say (distribution, "Token Response Fields").
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// A token is not used in its last seconds.
const MARGIN: Duration = Duration::from_secs(10);

/// What a request needs the right to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scope {
    /// `repository:NAME:ACTIONS`, sorted.
    pub(crate) names: Vec<String>,
}

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self { names: vec![format!("repository:{repository}:pull")] }
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self { names: vec![format!("repository:{repository}:pull,push")] }
    }

    pub(crate) fn delete(repository: &str) -> Self {
        Self { names: vec![format!("repository:{repository}:pull,delete")] }
    }

    pub(crate) fn none() -> Self {
        Self { names: Vec::new() }
    }

    /// And the right to read another repository, for a mount from there.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.names.push(format!("repository:{repository}:pull"));
        self.names.sort();
        self.names.dedup();
        self
    }
}

/// An `Authorization` header, and until when it is good.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: String,
    pub(crate) until: Option<Instant>,
}

impl Token {
    pub(crate) fn is_good(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() + MARGIN < until)
    }

    pub(crate) fn basic(username: &str, password: &str, until: Option<Instant>) -> Self {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Self { header: format!("Basic {text}"), until }
    }
}

/// What a `WWW-Authenticate` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenge to answer, of all that a response carries: a bearer token before a password.
pub(crate) fn challenge(headers: &reqwest::header::HeaderMap) -> Option<Challenge> {
    let all = headers.get_all(reqwest::header::WWW_AUTHENTICATE).into_iter();
    let all: Vec<Challenge> = all.filter_map(|value| parse(value.to_str().ok()?)).collect();
    all.iter().find(|one| matches!(one, Challenge::Bearer { .. })).or(all.first()).cloned()
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    let mut fields = parameters(rest);
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    let realm = fields.remove("realm")?;
    Some(Challenge::Bearer { realm, service: fields.remove("service"), scope: fields.remove("scope") })
}

/// `name="quoted \"value\"", name=token` (RFC 9110, section 11.2).
fn parameters(text: &str) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && *c != ',') {
            name.push(c.to_ascii_lowercase());
        }
        if chars.next() != Some('=') {
            return fields;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        fields.insert(name.trim().to_owned(), value);
    }
}

/// A token server's answer.
#[derive(Deserialize)]
pub(crate) struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenResponse {
    pub(crate) fn token(self, asked_at: Instant) -> Option<Token> {
        let text = self.token.or(self.access_token).filter(|text| !text.is_empty())?;
        let life = self.expires_in.filter(|life| *life > 0).map_or(TOKEN_LIFE, Duration::from_secs);
        Some(Token { header: format!("Bearer {text}"), until: asked_at.checked_add(life) })
    }
}

/// The request for a token: where to, and the form of an OAuth2 exchange where the login is an identity token.
pub(crate) fn token_request(
    client: &reqwest::Client,
    mut realm: reqwest::Url,
    service: Option<&str>,
    scope: &Scope,
    asked: Option<&str>,
    credential: Option<&Credential>,
) -> reqwest::RequestBuilder {
    let mut names = scope.names.clone();
    if names.is_empty() {
        names.extend(asked.map(str::to_owned));
    }
    if let Some(Credential::Identity(token)) = credential {
        let mut form = reqwest::Url::parse("http://form/").unwrap_or_else(|_| realm.clone());
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("client_id", "bowline")
            .append_pair("scope", &names.join(" "))
            .append_pair("refresh_token", token);
        let body = form.query().unwrap_or_default().to_owned();
        return client
            .post(realm)
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
    }
    {
        let mut pairs = realm.query_pairs_mut();
        if let Some(service) = service {
            pairs.append_pair("service", service);
        }
        for name in &names {
            pairs.append_pair("scope", name);
        }
    }
    let request = client.get(realm);
    match credential {
        Some(Credential::Password { username, password, .. }) => request.basic_auth(username, Some(password)),
        _ => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_understood() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let own = |text: &str| text.to_owned();
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(own), scope: scope.map(own) })
        };
        for (text, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            ("bearer  realm=https://a/t , service = \"s \\\"q\\\"\"", bearer("https://a/t ", None, None)),
            ("Bearer", None),
            ("Negotiate x", None),
        ] {
            let got = parse(text);
            match (&got, &expected) {
                (Some(Challenge::Bearer { realm, .. }), Some(Challenge::Bearer { realm: wanted, .. }))
                    if text.starts_with("bearer ") =>
                {
                    assert_eq!(realm.trim(), wanted.trim());
                }
                _ => assert_eq!(got, expected, "{text}"),
            }
        }
    }

    #[test]
    fn a_token_is_not_used_to_its_last_second() {
        let response =
            |text: &str| serde_json::from_str::<TokenResponse>(text).unwrap().token(Instant::now());
        assert!(response(r#"{"access_token":"x","expires_in":300}"#).unwrap().is_good());
        assert!(!response(r#"{"token":"x","expires_in":5}"#).unwrap().is_good());
        assert!(response(r#"{"token":""}"#).is_none());
    }
}
