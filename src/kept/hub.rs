//! Asking the registries behind the keeper, with tokens for everybody where they want some.

use anyhow::{Context as _, Result, bail};
use hyper::StatusCode;
use hyper::header::{ACCEPT, WWW_AUTHENTICATE};

use super::shared::Shared;
use super::upstream::{Upstream, token_giver};

/// Asks the registries in turn.
///
/// # Errors
/// The first one's, if none gives it.
pub async fn ask(
    shared: &Shared,
    upstream: &Upstream,
    name: &str,
    path: &str,
    accept: Option<&str>,
) -> Result<reqwest::Response> {
    let mut failure = None;
    for registry in &upstream.registries {
        match ask_one(shared, upstream, registry, name, path, accept).await {
            Ok(response) => return Ok(response),
            Err(error) => failure = failure.or(Some(error.context(format!("asking {registry}")))),
        }
    }
    Err(failure.unwrap_or_else(|| anyhow::anyhow!("there is no registry")))
}

async fn ask_one(
    shared: &Shared,
    upstream: &Upstream,
    registry: &str,
    name: &str,
    path: &str,
    accept: Option<&str>,
) -> Result<reqwest::Response> {
    let token_key = format!("{registry} {name}");
    let mut may_retry = true;
    loop {
        let mut request = upstream.registry.get(format!("{registry}/v2/{path}"));
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        let known = shared
            .tokens
            .lock()
            .ok()
            .and_then(|tokens| tokens.get(&token_key).cloned());
        if let Some(token) = known {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        if response.status() == StatusCode::UNAUTHORIZED && may_retry {
            may_retry = false;
            let challenge = response.headers().get(WWW_AUTHENTICATE);
            let challenge = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default();
            let token = token(upstream, registry, challenge).await?;
            if let Ok(mut tokens) = shared.tokens.lock() {
                tokens.insert(token_key.clone(), token);
            }
            continue;
        }
        if response.status() != StatusCode::OK {
            bail!("it answers {}", response.status());
        }
        return Ok(response);
    }
}

/// A token for everybody (distribution's token authentication specification).
async fn token(upstream: &Upstream, registry: &str, challenge: &str) -> Result<String> {
    let fields = challenge.strip_prefix("Bearer ").context("it wants a password")?;
    let field = |name: &str| {
        let (_, rest) = fields.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let realm = field("realm").context("it does not say who gives tokens")?;
    if !realm.starts_with("https://") && !realm.starts_with(registry) {
        bail!("its tokens come from a place that is not to be trusted");
    }
    let query: Vec<_> = ["service", "scope"]
        .into_iter()
        .filter_map(|name| Some((name, field(name)?)))
        .collect();
    let mut realm = reqwest::Url::parse(realm).context("reading who gives tokens")?;
    realm.query_pairs_mut().extend_pairs(query);
    let response = upstream.registry.get(token_giver(realm, registry)?).send().await?;
    let content = response.error_for_status()?.bytes().await?;
    let answer: serde_json::Value = serde_json::from_slice(&content)?;
    let token = answer.get("token").or_else(|| answer.get("access_token"));
    Ok(token
        .and_then(|token| token.as_str())
        .context("it gives no token")?
        .to_owned())
}
