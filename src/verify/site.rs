//! The site as a visitor sees it, through the forwarded port.

use std::io::Read as _;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::blocking::{Client, Response};
use reqwest::{StatusCode, Url, header, redirect};

use super::Verdict;
use crate::config::Login;
use crate::fault::{Cause, Fault};
use crate::ssh::HOST;
use crate::wait::Wait;

/// How long one page may take. An emulated guest's first one takes long.
const PAGE: Duration = Duration::from_secs(90);

/// How long to wait between two looks at a site that is not there yet.
const PAUSE: Duration = Duration::from_secs(1);

/// How many redirections are followed; browsers take 20.
const REDIRECTIONS: usize = 10;

/// How much of a page is looked at, in bytes.
const LOOKED_AT: u64 = 1024 * 1024;

/// Waits until the site answers with a page of its own.
///
/// # Errors
/// Those of `wait`; at its limit with what was seen last.
pub fn wait_for_site(login: &Login, https_port: u16, wait: Wait<'_>) -> Result<()> {
    let mut look: Option<JoinHandle<Result<Verdict>>> = None;
    let (mut next, mut last) = (Instant::now(), None);
    let waited = wait.until(|| {
        // A request cannot be broken off, so it runs beside the wait.
        match look.take() {
            Some(running) if running.is_finished() => match finished(running)? {
                Verdict::Holds(_) => return Ok(Some(())),
                Verdict::Broken(seen) => {
                    last = Some(seen);
                    next = Instant::now() + PAUSE;
                }
            },
            None if Instant::now() >= next => {
                let login = login.clone();
                look = Some(std::thread::spawn(move || check(&login, https_port)));
            }
            running => look = running,
        }
        Ok(None)
    });
    waited.map_err(|error| match (Fault::of(&error), last) {
        (Some(fault), Some(last)) if fault.cause == Cause::Timeout => {
            let message = format!("{}; at last, {last}", fault.message);
            let (cause, hint) = (fault.cause, fault.hint.clone());
            Fault { cause, message, hint }.into()
        }
        _ => error,
    })
}

fn finished(look: JoinHandle<Result<Verdict>>) -> Result<Verdict> {
    look.join()
        .unwrap_or_else(|_| Ok(Verdict::Broken("the look at it failed".into())))
}

/// Whether the site's first page is one of the site's own.
///
/// # Errors
/// When no request can be made at all.
pub(super) fn check(login: &Login, https_port: u16) -> Result<Verdict> {
    let visitor = Visitor::new(login, https_port)?;
    Ok(match visitor.visit() {
        Ok(page) => page.judge(),
        Err(seen) => Verdict::Broken(seen),
    })
}

/// Asks for pages like a browser to which `LOGIN.42.fr` is the forwarded port.
struct Visitor {
    client: Client,
    domain: String,
    port: u16,
}

/// A page as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    status: u16,
    path: String,
    body: String,
}

impl Visitor {
    fn new(login: &Login, port: u16) -> Result<Self> {
        // Fails only when there is one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let domain = login.domain();
        let client = Client::builder()
            .resolve(&domain, SocketAddr::from((HOST, port)))
            // The certificate is the site's own; nothing secret is sent.
            .tls_danger_accept_invalid_certs(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .timeout(PAGE)
            .build()
            .context("setting up HTTPS")?;
        Ok(Self { client, domain, port })
    }

    /// The first page, after redirections within the site; the error is what was seen instead.
    fn visit(&self) -> Result<Page, String> {
        let mut path = "/".to_owned();
        for _ in 0..=REDIRECTIONS {
            let response = self.get(&path)?;
            let status = response.status();
            let Some(to) = response
                .headers()
                .get(header::LOCATION)
                .filter(|_| status.is_redirection())
            else {
                return page(path, response);
            };
            let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
            path = self.redirected(&path, &to)?;
        }
        Err(format!(
            "it redirects more than {REDIRECTIONS} times, the last time to {path}"
        ))
    }

    fn get(&self, path: &str) -> Result<Response, String> {
        let url = format!("https://{}:{}{path}", self.domain, self.port);
        // In the guest the site is on port 443: a name with another port would be another site to it.
        let request = self.client.get(url).header(header::HOST, &self.domain);
        request
            .send()
            .map_err(|error| format!("it does not answer: {}", innermost(&error)))
    }

    /// The path to go on with.
    fn redirected(&self, from: &str, to: &str) -> Result<String, String> {
        let outside = || format!("it redirects to {to}, which is not this site by HTTPS");
        let base = Url::parse(&format!("https://{}{from}", self.domain)).map_err(|_| outside())?;
        let url = base.join(to).map_err(|_| outside())?;
        let ours = url
            .port_or_known_default()
            .is_some_and(|port| port == 443 || port == self.port);
        if url.scheme() != "https" || url.host_str() != Some(&self.domain) || !ours {
            return Err(outside());
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(format!("{}{query}", url.path()))
    }
}

fn page(path: String, response: Response) -> Result<Page, String> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    response
        .take(LOOKED_AT)
        .read_to_end(&mut body)
        .map_err(|error| format!("its page breaks off: {}", innermost(&error)))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Page { status, path, body })
}

/// The cause that the others only wrap.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Pages that a server shows when there is no site: what they contain, in lower case, and what that means.
const NO_SITE: &[(&str, &str)] = &[
    (
        "error establishing a database connection",
        "WordPress cannot reach its database",
    ),
    (
        "there has been a critical error on this website",
        "WordPress reports a critical error",
    ),
    ("<title>welcome to nginx!</title>", "it is nginx's own welcome page"),
    ("<title>index of /", "it is a list of files"),
    ("<?php", "it is a PHP program's source"),
];

/// Where visitors are sent as long as nothing is installed.
const INSTALLATION: &[&str] = &["/wp-admin/install.php", "/wp-admin/setup-config.php"];

impl Page {
    fn judge(&self) -> Verdict {
        let lower = self.body.to_lowercase();
        if let Some((_, meaning)) = NO_SITE.iter().find(|(text, _)| lower.contains(text)) {
            return Verdict::Broken((*meaning).to_owned());
        }
        if self.status != 200 {
            let reason = StatusCode::from_u16(self.status)
                .ok()
                .and_then(|code| code.canonical_reason());
            return Verdict::Broken(format!("it answers {} {}", self.status, reason.unwrap_or_default()));
        }
        if INSTALLATION.iter().any(|path| self.path.starts_with(path)) {
            return Verdict::Broken("it is WordPress's installation page".into());
        }
        if !lower.contains("<html") && !lower.contains("<!doctype html") {
            return Verdict::Broken(format!("it is no HTML page ({} bytes)", self.body.len()));
        }
        Verdict::Holds(
            self.title()
                .map_or_else(|| "a page without a title".into(), |title| format!("“{title}”")),
        )
    }

    fn title(&self) -> Option<&str> {
        // ASCII letters alone change here, so that places in both texts are the same.
        let lower = self.body.to_ascii_lowercase();
        let start = lower.find("<title")?;
        let start = start + lower[start..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        let title = self.body[start..end].trim();
        (!title.is_empty()).then_some(title)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::verify::testing::{Server, login};

    fn seen(status: u16, path: &str, body: &str) -> Verdict {
        Page {
            status,
            path: path.into(),
            body: body.into(),
        }
        .judge()
    }

    #[test]
    fn pages_are_told_from_what_servers_show_instead() {
        let html = "<!DOCTYPE html><html><head><TITLE>My\u{130} site</TITLE></head></html>";
        let titled = |title: &str| format!("<html><title>{title}</title></html>");
        let holds = |text: &str| Verdict::Holds(text.into());
        let broken = |text: &str| Verdict::Broken(text.into());
        let table = [
            (200, "/", html.to_owned(), holds("“My\u{130} site”")),
            (200, "/", "<html>".to_owned(), holds("a page without a title")),
            (
                502,
                "/",
                titled("502 Bad Gateway"),
                broken("it answers 502 Bad Gateway"),
            ),
            (404, "/", titled("no"), broken("it answers 404 Not Found")),
            (
                500,
                "/",
                titled("Error establishing a database connection"),
                broken("WordPress cannot reach its database"),
            ),
            (
                200,
                "/",
                titled("Welcome to nginx!"),
                broken("it is nginx's own welcome page"),
            ),
            (200, "/", titled("Index of /"), broken("it is a list of files")),
            (
                200,
                "/",
                "<?php echo '<html>';".to_owned(),
                broken("it is a PHP program's source"),
            ),
            (200, "/", "hello".to_owned(), broken("it is no HTML page (5 bytes)")),
            (
                200,
                "/wp-admin/install.php",
                html.to_owned(),
                broken("it is WordPress's installation page"),
            ),
        ];
        for (status, path, body, verdict) in table {
            assert_eq!(seen(status, path, &body), verdict, "{body}");
        }
    }

    const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><title>Home</title></html>";

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    }

    fn path(request: &str) -> &str {
        request.split(' ').nth(1).unwrap_or_default()
    }

    #[test]
    fn the_site_gets_the_name_that_its_visitors_type() {
        let server = Server::start(|request| {
            let host = request.lines().find(|line| line.to_lowercase().starts_with("host:"));
            if host.is_some_and(|host| host.ends_with(" alice.42.fr")) {
                PAGE.into()
            } else {
                redirect("http://x/")
            }
        });
        assert_eq!(check(&login(), server.port).unwrap(), Verdict::Holds("“Home”".into()));
    }

    #[test]
    fn redirections_are_followed_within_the_site_only() {
        let table = [
            ("https://alice.42.fr/home?a=b", Verdict::Holds("“Home”".into())),
            ("/home?a=b", Verdict::Holds("“Home”".into())),
            (
                "http://alice.42.fr/",
                Verdict::Broken("it redirects to http://alice.42.fr/, which is not this site by HTTPS".into()),
            ),
            (
                "https://example.com/",
                Verdict::Broken("it redirects to https://example.com/, which is not this site by HTTPS".into()),
            ),
            (
                "/",
                Verdict::Broken("it redirects more than 10 times, the last time to /".into()),
            ),
        ];
        for (to, verdict) in table {
            let server = Server::start(move |request| {
                if path(request) == "/home?a=b" {
                    PAGE.into()
                } else {
                    redirect(to)
                }
            });
            assert_eq!(check(&login(), server.port).unwrap(), verdict, "{to}");
        }
    }

    #[test]
    fn a_site_that_comes_late_is_waited_for() {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".into(),
            _ => PAGE.into(),
        });
        let wait = Wait::new("the site", Duration::from_secs(60));
        wait_for_site(&login(), server.port, wait).unwrap();
    }

    #[test]
    fn a_wait_in_vain_tells_what_was_seen() {
        let server = Server::start(|_| "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".into());
        let wait = Wait::new("the site", Duration::from_secs(3)).hint("look");
        let error = wait_for_site(&login(), server.port, wait).unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Timeout);
        assert_eq!(fault.hint.as_deref(), Some("look"));
        assert!(
            fault.message.ends_with("the site; at last, it answers 502 Bad Gateway"),
            "{fault}"
        );
    }

    #[test]
    fn a_closed_port_is_no_site() {
        let port = crate::process::testing::free_port();
        let verdict = check(&login(), port).unwrap();
        assert!(
            matches!(&verdict, Verdict::Broken(seen) if seen.contains("refused")),
            "{verdict:?}"
        );
    }
}
