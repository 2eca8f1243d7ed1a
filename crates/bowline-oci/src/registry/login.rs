//! Answering challenges: which token a request gets, and where tokens come from.

use std::time::{Instant, SystemTime};

use reqwest::Url;

use super::auth::{self, Challenge, Scope, Token};
use super::retry::{self, Retry};
use super::{Answer, Call, Client, DOCUMENT_LIMIT, RegistryError, error};
use crate::credential::Credential;

impl Client {
    /// The token that is held for a request, if it is still good.
    pub(super) fn token(&self, call: &Call<'_>) -> Option<Token> {
        let tokens = self.inner.tokens.lock().ok()?;
        let key = |scope: Scope| (call.registry.to_owned(), scope);
        // A password is good for every scope of its registry.
        let token = tokens.get(&key(call.scope.clone())).or_else(|| tokens.get(&key(Scope::none())));
        token.filter(|token| token.is_good()).cloned()
    }

    pub(super) fn forget(&self, call: &Call<'_>, token: &Token) {
        if let Ok(mut tokens) = self.inner.tokens.lock() {
            tokens.retain(|(registry, _), held| registry != call.registry || held.header != token.header);
        }
    }

    /// Answers a challenge. `used` is the token that was refused, if one was sent.
    pub(super) async fn log_in(
        &self,
        call: &Call<'_>,
        used: Option<&Token>,
        headers: &reqwest::header::HeaderMap,
    ) -> Result<Token, RegistryError> {
        // One at a time: helpers and token servers need not be asked by eight services at once.
        let _turn = self.inner.logging_in.lock().await;
        if let Some(used) = used {
            self.forget(call, used);
        }
        if let Some(token) = self.token(call) {
            return Ok(token);
        }
        let found = self.inner.options.credentials.find(call.registry, call.repository).await;
        let credential =
            found.map_err(|source| RegistryError::Credential { registry: call.registry.into(), source })?;
        let (token, scope) = match (auth::challenge(headers), &credential) {
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let token = self.fetch_token(call, &realm, service, scope, credential.as_ref()).await?;
                (token, call.scope.clone())
            }
            (_, Some(Credential::Password { username, password, until })) => {
                let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
                (Token::basic(username, password, left.map(|left| Instant::now() + left)), Scope::none())
            }
            _ => {
                let (doing, registry) = (call.doing.clone(), call.registry.to_owned());
                return Err(RegistryError::Unauthorized { doing, registry, anonymous: true });
            }
        };
        if let Ok(mut tokens) = self.inner.tokens.lock() {
            tokens.insert((call.registry.into(), scope), token.clone());
        }
        Ok(token)
    }

    async fn fetch_token(
        &self,
        call: &Call<'_>,
        realm: &str,
        service: Option<String>,
        asked: Option<String>,
        credential: Option<&Credential>,
    ) -> Result<Token, RegistryError> {
        let url =
            Url::parse(realm).ok().filter(|url| url.scheme() == "https" || self.is_plain(call.registry));
        let url =
            url.ok_or_else(|| call.protocol("names a token server that cannot be trusted with a login"))?;
        let login = Call { doing: format!("log in to {}", call.registry), scope: Scope::none(), ..*call };
        let http = self.http(call.registry)?;
        let mut retry = Retry::within(self.patience);
        loop {
            let asked_at = Instant::now();
            let request = auth::token_request(
                http,
                url.clone(),
                service.as_deref(),
                &call.scope,
                asked.as_deref(),
                credential,
            );
            let result = self.attempt(&login, request, None).await;
            let (passing, after) = match &result {
                Ok(response) if response.status().is_success() => (false, None),
                Ok(response) => {
                    let after = retry::after(response.headers(), SystemTime::now());
                    (error::is_passing(response.status().as_u16()), after)
                }
                Err(error) => (error.is_passing(), None),
            };
            if passing && retry.pause(after).await {
                continue;
            }
            let answer = Answer(result?);
            if matches!(answer.0.status().as_u16(), 400 | 401 | 403) {
                return Err(RegistryError::Unauthorized {
                    doing: call.doing.clone(),
                    registry: call.registry.into(),
                    anonymous: credential.is_none(),
                });
            }
            let body = answer.accept(&login, &[200]).await?;
            let body = self.read_body(&login, body.0, DOCUMENT_LIMIT).await?;
            let token = serde_json::from_slice::<auth::TokenResponse>(&body).ok();
            return token
                .and_then(|response| response.token(asked_at))
                .ok_or_else(|| login.protocol("has a token server that gave no token"));
        }
    }
}
