//! Flags count more than the environment, that more than the file; an empty variable is none.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::program;

/// A key: its table, its flag, and a good and a bad value as the file writes them.
const KEYS: &[(&str, &str, &str, &str, &str)] = &[
    ("", "guest", "guest", "\"debian-12\"", "\"plan-9\""),
    ("", "login", "login", "\"jdoe\"", "\"Root!\""),
    ("", "name", "name", "\"eval\"", "\"../x\""),
    ("machine", "cpus", "cpus", "2", "999"),
    ("machine", "memory", "memory", "\"2G\"", "\"lots\""),
    ("machine", "accelerator", "accelerator", "\"tcg\"", "\"kmv\""),
    ("machine", "stall_timeout", "stall-timeout", "\"5m\"", "\"soon\""),
    ("machine", "program", "machine", "\"qemu\"", "\"bochs\""),
    ("machine", "installer", "installer", "\"medium\"", "\"floppy\""),
    ("ports", "https", "https-port", "8443", "99999"),
    ("project", "make_timeout", "make-timeout", "\"90m\"", "\"soon\""),
    (
        "docker",
        "registry_mirror",
        "registry-mirror",
        "\"http://10.0.2.2:5000\"",
        "\"x\"",
    ),
    (
        "network",
        "snapshot_mirror",
        "snapshot-mirror",
        "\"http://10.0.2.2/archive\"",
        "\"ftp://x\"",
    ),
    ("network", "dns", "dns", "[\"9.9.9.9\"]", "[\"nine\"]"),
];

/// A value as flags and variables have it.
fn plain(value: &str) -> String {
    value.replace(['"', '[', ']'], "")
}

/// The program in a project folder, with nothing of the tests' own environment.
fn command(folder: &Path, args: &[&str]) -> Command {
    fs::create_dir_all(folder.join("srcs")).unwrap();
    fs::write(folder.join("Makefile"), "all:\n").unwrap();
    let mut command = Command::new(program());
    command.args(args).current_dir(folder);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROVISION_")) {
        command.env_remove(name);
    }
    command
        .env("PROVISION_CACHE_DIR", folder.join("cache"))
        .env("PROVISION_DATA_DIR", folder.join("data"))
        .env("LOGNAME", "somebody");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `plan` says to a value in the file, in the environment and on the command line.
fn planned(key: (&str, &str, &str), file: &str, variable: Option<&str>, flag: Option<&str>) -> (Option<i32>, String) {
    let (table, name, long) = key;
    let folder = tempfile::tempdir().unwrap();
    let table = if table.is_empty() {
        String::new()
    } else {
        format!("[{table}]\n")
    };
    fs::write(
        folder.path().join("provision.toml"),
        format!("{table}{name} = {file}\n"),
    )
    .unwrap();
    let mut command = command(folder.path(), &["plan"]);
    if let Some(text) = variable {
        command.env(format!("PROVISION_{}", long.to_uppercase().replace('-', "_")), text);
    }
    if let Some(text) = flag {
        command.arg(format!("--{long}={text}"));
    }
    let output = command.output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn flags_count_more_than_the_environment_and_that_more_than_the_file() {
    for &(table, name, long, good, bad) in KEYS {
        let key = (table, name, long);
        let (right, wrong) = (plain(good), plain(bad));
        let (right, wrong) = (Some(right.as_str()), Some(wrong.as_str()));
        let variable = format!("PROVISION_{}:", long.to_uppercase().replace('-', "_"));
        let table = [
            (bad, None, None, Some("provision.toml:")),
            (bad, right, None, None),
            (good, wrong, None, Some(variable.as_str())),
            (bad, wrong, right, None),
            (good, right, wrong, Some("--")),
            (good, Some(""), None, None),
            (bad, Some(""), None, Some("provision.toml:")),
        ];
        for (file, environment, flag, blamed) in table {
            let (code, said) = planned(key, file, environment, flag);
            let case = format!("{long}: {file} {environment:?} {flag:?}: {said}");
            match blamed {
                None => assert_eq!(code, Some(0), "{case}"),
                Some("--") => assert!(code == Some(3) && said.contains(&format!("--{long}:")), "{case}"),
                Some(place) => assert!(code == Some(3) && said.contains(place), "{case}"),
            }
        }
    }
}

#[test]
fn commands_find_their_machine_by_the_environment_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("provision.toml"), "login = \"filed\"\n").unwrap();
    fs::write(folder.path().join("other.toml"), "login = \"other\"\n").unwrap();
    for (variables, flags, machine) in [
        (&[][..], &[][..], "filed"),
        (&[("PROVISION_LOGIN", "envied")], &[], "envied"),
        (&[("PROVISION_LOGIN", "")], &[], "filed"),
        (
            &[("PROVISION_LOGIN", "envied"), ("PROVISION_NAME", "named")],
            &[],
            "named",
        ),
        (&[("PROVISION_NAME", "named")], &["--name=flagged"], "flagged"),
        (&[("PROVISION_NAME", ""), ("PROVISION_CONFIG", "")], &[], "filed"),
        (&[("PROVISION_CONFIG", "other.toml")], &[], "other"),
    ] {
        for verb in ["status", "stop", "url"] {
            let mut command = command(folder.path(), &[verb]);
            command.args(flags).envs(variables.iter().copied());
            let said = stderr(&command.output().unwrap());
            let wanted = format!("there is no machine {machine}\n");
            assert!(said.contains(&wanted), "{verb} {variables:?} {flags:?}: {said}");
        }
    }
}

#[test]
fn an_empty_flag_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--name=", "--config="] {
        let output = command(folder.path(), &["destroy", "--yes", flag]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}: {}", stderr(&output));
    }
    let output = command(folder.path(), &["plan", "--config="]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
