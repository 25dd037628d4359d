//! Without a network: what is missing is named before anything begins.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::program;

/// A project with one Dockerfile, in folders of its own.
fn project(dockerfile: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let service = folder.path().join("project/srcs/requirements/nginx");
    fs::create_dir_all(&service).unwrap();
    fs::write(service.join("Dockerfile"), dockerfile).unwrap();
    fs::write(folder.path().join("project/Makefile"), "all:\n").unwrap();
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .current_dir(folder.join("project"))
        .env("PROVISION_CACHE_DIR", folder.join("cache"))
        .env("PROVISION_DATA_DIR", folder.join("data"))
        .output()
        .unwrap()
}

#[test]
fn what_is_missing_is_named_before_anything_begins() {
    let folder = project("ARG RELEASE=bookworm\nFROM debian:$RELEASE\nCOPY --from=ghcr.io/a/b:1 /a /a\nRUN true\n");
    let output = run(folder.path(), &["create", "--offline", "--login", "jdoe"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    for thing in [
        "the ISO of debian-13",
        "Docker's packages for debian-13",
        "the image debian:bookworm",
        "the image ghcr.io/a/b:1 (only Docker Hub's are kept",
        "nothing was built with this cache yet",
        "hint: `provision fetch`",
    ] {
        assert!(said.contains(thing), "{thing}: {said}");
    }
    let list = run(folder.path(), &["list"]);
    assert!(!String::from_utf8_lossy(&list.stdout).contains("jdoe"));
    assert!(!said.contains("failure-"), "there is nothing to look at: {said}");
}

#[test]
fn a_plan_says_it_too_and_is_shown() {
    let folder = project("FROM debian:bookworm\n");
    let output = run(folder.path(), &["--json", "plan", "--offline", "--login", "jdoe"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let plan: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(plan["event"], "result");
    assert_eq!(plan["missing"][0], "the ISO of debian-13");
    let without = run(folder.path(), &["--json", "plan", "--login", "jdoe"]);
    assert!(without.status.success());
    assert!(!String::from_utf8_lossy(&without.stdout).contains("missing"));
}

#[test]
fn offline_and_online_are_not_asked_for_together() {
    let folder = project("FROM debian:bookworm\n");
    let output = run(folder.path(), &["create", "--offline", "--refresh"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
