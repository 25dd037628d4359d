//! Fetches through the keeper as a guest would, so that what comes is kept.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::blocking::{Client, Response};
use reqwest::header::ACCEPT;
use reqwest::{Proxy, Url};
use serde_json::Value;

use super::keeper::Keeper;
use super::need::{Image, blobs_of, for_guests};
use super::registry::KINDS;
use crate::cancel::Cancel;

/// How long one answer may take to begin, and each part of it to come: the keeper asks others, several times if it must.
const PATIENCE: Duration = Duration::from_secs(300);

/// A client of one keeper.
pub struct Fetcher<'a> {
    keeper: &'a Keeper,
    client: Client,
    cancel: &'a Cancel,
}

impl<'a> Fetcher<'a> {
    /// A client of `keeper`.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub fn new(keeper: &'a Keeper, cancel: &'a Cancel) -> Result<Self> {
        let mut here = Url::parse(&format!("http://127.0.0.1:{}", keeper.route().port))?;
        if let Some(proxy) = keeper.proxy() {
            // Fails only for addresses without a host.
            let _ = here.set_username(proxy.username());
            let _ = here.set_password(proxy.password());
        }
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .proxy(Proxy::http(here).context("using the keeper")?)
            .redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            keeper,
            client: client.build().context("setting up a client of the keeper")?,
            cancel,
        })
    }

    /// Fetches a plain-HTTP address.
    ///
    /// # Errors
    /// When it is not to be had.
    pub fn address(&self, url: &str) -> Result<()> {
        let response = self.client.get(url).send().map_err(reqwest::Error::without_url);
        self.drained(response.with_context(|| format!("fetching {url}"))?, url)
    }

    /// Fetches an image of Docker Hub for the guests' processor.
    ///
    /// # Errors
    /// When it is of another registry, or not to be had.
    pub fn image(&self, image: &Image) -> Result<()> {
        let Some((name, reference)) = &image.at_hub else {
            bail!("{} is of another registry than Docker Hub", image.written);
        };
        let mut manifest = self.manifest(name, reference)?;
        if let Some(ours) = for_guests(&manifest) {
            manifest = self.manifest(name, &ours.to_string())?;
        }
        for digest in blobs_of(&manifest) {
            let path = format!("{name}/blobs/{digest}");
            self.drained(self.registry(&path)?, &path)?;
        }
        Ok(())
    }

    fn manifest(&self, name: &str, reference: &str) -> Result<Value> {
        let response = self.registry(&format!("{name}/manifests/{reference}"))?;
        let content = response.bytes().context("reading a manifest")?;
        serde_json::from_slice(&content).context("reading a manifest")
    }

    fn registry(&self, path: &str) -> Result<Response> {
        let url = format!("http://127.0.0.1:{}/v2/{path}", self.keeper.route().port);
        let response = self.client.get(url).header(ACCEPT, KINDS).send();
        let response = response
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("fetching {path}"))?;
        if !response.status().is_success() {
            bail!("fetching {path}: {}", response.text().unwrap_or_default().trim());
        }
        Ok(response)
    }

    fn drained(&self, mut response: Response, what: &str) -> Result<()> {
        if !response.status().is_success() {
            bail!("{what} answered {}", response.status());
        }
        let mut block = vec![0; 64 << 10];
        while response.read(&mut block).with_context(|| format!("fetching {what}"))? > 0 {
            self.cancel.check()?;
        }
        Ok(())
    }
}
