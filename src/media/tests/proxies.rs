//! The proxies of the environment.

use super::processes::fetch;
use crate::media::testing::{Proxy, Server};

#[test]
fn the_proxies_of_the_environment_are_used() {
    let server = Server::start();
    server.put("/x", "hello");
    let proxy = Proxy::start(&server.url(""));
    // This host is known to the proxy alone.
    let far = "http://mirror.invalid/x";
    let error = fetch(far, &[]).unwrap_err();
    assert!(error.contains("no answer from"), "{error}");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        fetch(far, &[(name, &proxy.url())]).unwrap();
    }
    // That one is for https.
    fetch(far, &[("HTTPS_PROXY", &proxy.url())]).unwrap_err();
    let asked = proxy.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|asked| asked.target == far), "{asked:?}");
}

#[test]
fn a_password_for_the_proxy_is_sent() {
    let server = Server::start();
    server.put("/x", "hello");
    let proxy = Proxy::start(&server.url(""));
    let with_password = proxy.url().replace("http://", "http://me:secret@");
    fetch("http://mirror.invalid/x", &[("http_proxy", &with_password)]).unwrap();
    // "me:secret" in base64 (RFC 7617).
    assert_eq!(proxy.asked()[0].headers["proxy-authorization"], "Basic bWU6c2VjcmV0");
}

#[test]
fn hosts_without_a_proxy_are_asked_directly() {
    let server = Server::start();
    server.put("/x", "hello");
    let proxy = Proxy::start(&server.url(""));
    let url = server.url("/x");
    fetch(
        &url,
        &[("http_proxy", &proxy.url()), ("NO_PROXY", "localhost,127.0.0.1")],
    )
    .unwrap();
    assert!(proxy.asked().is_empty());
    fetch(&url, &[("http_proxy", &proxy.url())]).unwrap();
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn https_goes_through_the_proxy_as_a_tunnel() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url(""));
    fetch("https://mirror.invalid/x", &[("HTTPS_PROXY", &proxy.url())]).unwrap_err();
    assert_eq!(proxy.asked()[0].target, "mirror.invalid:443");
}
