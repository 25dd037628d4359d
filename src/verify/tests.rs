//! Tests of the catalogue as a whole, with a real HTTPS server as the site and a real SSH server as the guest.

use std::collections::BTreeSet;

use super::testing::{Server, login};
use super::*;
use crate::ssh::testing::Sshd;

const PAGE: &str = "HTTP/1.1 200 OK\r\n\r\n<html><title>Home</title></html>";

#[test]
fn names_in_the_catalogue_differ() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len());
}

#[test]
fn every_rule_is_checked_and_told_also_after_a_broken_one() {
    let (server, sshd) = (Server::start(|_| PAGE.into()), Sshd::start());
    let (events, told) = Events::recorder();
    let mut context = Context {
        login: &login(),
        https_port: server.port,
        session: &mut sshd.session(),
        project: "no such folder in the home of whoever runs this test",
        cancel: &Cancel::default(),
    };
    let results = run(&mut context, &events).unwrap();
    let ids: Vec<&str> = results.iter().map(|result| result.rule).collect();
    assert_eq!(ids, RULES.iter().map(|rule| rule.id).collect::<Vec<_>>());
    let passed: Vec<&str> = results
        .iter()
        .filter(|result| result.passed)
        .map(|result| result.rule)
        .collect();
    assert_eq!(
        passed,
        ["site", "tls-1.2", "tls-1.3", "tls-1.1-refused"],
        "{results:#?}"
    );
    let services = &results[5].detail;
    assert!(
        services.starts_with("every compose service runs: it could not be checked:"),
        "{services}"
    );
    assert!(services.contains("no such folder"), "{services}");
    let expected: Vec<Event> = results
        .into_iter()
        .map(|CheckResult { rule, passed, detail }| Event::Check {
            rule: rule.to_owned(),
            passed,
            detail,
        })
        .collect();
    assert_eq!(*told.lock().unwrap(), expected);
}
