//! Tests of the catalogue as a whole, with a real HTTPS server as the site and a real SSH server as the guest.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use super::testing::{Server, login};
use super::*;
use crate::fault::Cause;
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

/// A signal is for a whole process, so this test has one of its own: this program again, running [`cancelled`] only.
#[test]
fn the_user_can_stop_a_look_at_a_silent_site() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "verify::tests::cancelled", "--ignored"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[test]
#[ignore = "the other test runs it, in a process of its own"]
fn cancelled() {
    let cancel = Cancel::on_signals().unwrap();
    let silent = TcpListener::bind((crate::ssh::HOST, 0)).unwrap();
    let sshd = Sshd::start();
    let mut context = Context {
        login: &login(),
        https_port: silent.local_addr().unwrap().port(),
        session: &mut sshd.session(),
        project: ".",
        cancel: &cancel,
    };
    let start = Instant::now();
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(300));
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::INT).unwrap();
    });
    // Past the check that stands before each rule: the signal comes while they look.
    for rule in &RULES[..4] {
        let error = (rule.check)(&mut context).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Interrupted, "{}", rule.id);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
