//! The example workflows of `docs/ci`: read, and their commands run here as far as they go.
//!
//! Everything of the host is a stand-in that notes down how it was called. `provision` is the real one: its `cache key` runs,
//! and of every other call the command line is parsed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::Value;

use super::carry::Hosts;
use super::support::{program, write_program};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci")
}

fn read(name: &str) -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// A machine on which workflows run.
struct Runner {
    hosts: Hosts,
    bin: PathBuf,
}

/// What a run left.
struct Ran {
    log: String,
    outputs: String,
}

impl Runner {
    fn new() -> Self {
        let hosts = Hosts::new();
        let bin = hosts.path("bin");
        fs::create_dir(&bin).unwrap();
        let runner = Self { hosts, bin };
        let log = runner.hosts.path("log");
        let note = format!("echo \"${{0##*/}} $*\" >> '{}'\n", log.display());
        for name in ["cargo", "apt-get", "udevadm"] {
            runner.program(name, &note);
        }
        // What root would write comes into the log.
        let written = format!(
            "{note}if [ \"$1\" = tee ]; then tee -a '{}' > /dev/null; fi\n",
            log.display()
        );
        runner.program("sudo", &written);
        let real = program();
        let real = real.display();
        runner.program(
            "provision",
            &format!("{note}case \"$1 $2\" in 'cache key') exec '{real}' \"$@\";; *) exec '{real}' \"$@\" --help > /dev/null;; esac\n"),
        );
        runner
    }

    fn program(&self, name: &str, script: &str) {
        write_program(&self.bin.join(name), &format!("#!/bin/sh\n{script}"));
    }

    /// Runs a script as the CI does, in the checkout.
    #[track_caller]
    fn run(&self, script: &str, variables: &[(String, String)]) -> Ran {
        let outputs = self.hosts.path("outputs");
        fs::write(&outputs, "").unwrap();
        let _ = fs::remove_file(self.hosts.path("log"));
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script])
            .current_dir(self.hosts.path("project"))
            .env("PATH", path)
            .env("HOME", self.hosts.path("home"))
            .env("PROVISION_CACHE_DIR", self.hosts.path("runner/cache"))
            .env("PROVISION_DATA_DIR", self.hosts.path("runner/data"))
            .env("GITHUB_OUTPUT", &outputs)
            .env("RUNNER_TEMP", self.hosts.path("project"))
            .env("CI_PROJECT_DIR", self.hosts.path("project"))
            .env("CI_CONCURRENT_ID", "0")
            .envs(variables.iter().cloned())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}\n{said}");
        Ran {
            log: fs::read_to_string(self.hosts.path("log")).unwrap_or_default(),
            outputs: fs::read_to_string(outputs).unwrap(),
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_sequence().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|line| line.as_str().expect("a line of a script").to_owned())
        .collect()
}

fn variables(value: &Value) -> Vec<(String, String)> {
    let table = value.as_mapping().into_iter().flatten();
    let pairs = table.map(|(name, value)| (name.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned()));
    // As the CI replaces its own.
    let folder = |value: String| {
        value
            .replace("$CI_PROJECT_DIR", "/checkout")
            .replace("$CI_CONCURRENT_ID", "0")
    };
    pairs.map(|(name, value)| (name, folder(value))).collect()
}

/// The cache that a call of `provision` for it would find.
fn key_of(log: &str) -> bool {
    log.lines().any(|line| line == "provision cache key --stage docker")
}

#[test]
fn every_workflow_is_there_and_no_other() {
    let mut names: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "github-emulated.yml",
            "github-kvm.yml",
            "gitlab-docker.yml",
            "gitlab-shell.yml"
        ]
    );
}

#[test]
fn githubs_workflows_may_nothing_and_name_versions() {
    for name in ["github-kvm.yml", "github-emulated.yml"] {
        let workflow = read(name);
        let permissions = workflow["permissions"].as_mapping().unwrap();
        assert_eq!(permissions.len(), 1, "{name}");
        assert_eq!(workflow["permissions"]["contents"], "read", "{name}");
        // YAML 1.1 reads `on` as true, GitHub as the word.
        assert!(workflow.get("on").is_some(), "{name}");
        let job = &workflow["jobs"]["machine"];
        assert!(
            job["timeout-minutes"].as_u64().is_some() && job["runs-on"].is_string(),
            "{name}"
        );
        let steps = job["steps"].as_sequence().unwrap();
        for step in steps {
            let (uses, run) = (step["uses"].as_str(), step["run"].as_str());
            assert!(uses.is_some() != run.is_some(), "{name}: {step:?}");
            if let Some(uses) = uses {
                let (action, version) = uses.split_once('@').unwrap();
                assert!(action.starts_with("actions/"), "{uses}");
                let major = version.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
                assert!(major.is_some(), "{uses}");
            }
            // What others write (a branch's name) must not become a part of a script.
            assert!(!run.is_some_and(|run| run.contains("${{")), "{name}: {run:?}");
        }
        let place = |of: &dyn Fn(&Value) -> bool| steps.iter().position(of).unwrap_or_else(|| panic!("{name}"));
        let uses =
            |action: &'static str| move |step: &Value| step["uses"].as_str().is_some_and(|it| it.starts_with(action));
        let runs = |words: &'static str| move |step: &Value| step["run"].as_str().is_some_and(|it| it.contains(words));
        let order = [
            place(&uses("actions/checkout@")),
            place(&runs("cargo install")),
            place(&runs("provision cache key")),
            place(&uses("actions/cache/restore@")),
            place(&runs("provision cache import")),
            place(&runs("provision create")),
            place(&runs("provision cache export")),
            place(&uses("actions/cache/save@")),
            place(&uses("actions/upload-artifact@")),
        ];
        assert!(order.is_sorted(), "{name}: {order:?}");
        let cached = |step: usize| (&steps[step]["with"]["path"], &steps[step]["with"]["key"]);
        assert_eq!(cached(order[3]), cached(order[7]), "{name}");
        // Every step that an expression names is there.
        let text = fs::read_to_string(folder().join(name)).unwrap();
        for named in text.split("steps.").skip(1).map(|rest| rest.split('.').next().unwrap()) {
            let is_there = steps.iter().any(|step| step["id"] == *named);
            assert!(named.contains(' ') || is_there, "{name}: {named}");
        }
    }
}

#[test]
fn githubs_commands_run() {
    for name in ["github-kvm.yml", "github-emulated.yml"] {
        let runner = Runner::new();
        let job = &read(name)["jobs"]["machine"];
        let variables = variables(&job["env"]);
        let mut log = String::new();
        for step in job["steps"].as_sequence().unwrap() {
            let Some(run) = step["run"].as_str() else { continue };
            let ran = runner.run(run, &variables);
            if step["id"] == "key" {
                let key = ran.outputs.strip_prefix("key=").unwrap().trim_end();
                assert!(
                    key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
                    "{key}"
                );
                // Another runner finds it under the same key.
                assert_eq!(Runner::new().run(run, &variables).outputs, ran.outputs);
            }
            log += &ran.log;
        }
        assert!(key_of(&log), "{name}: {log}");
        let create = log.lines().find(|line| line.starts_with("provision create ")).unwrap();
        assert!(create.contains("--timeout ") && create.contains("--junit "), "{create}");
        assert_eq!(log.contains("udevadm"), name == "github-kvm.yml", "{log}");
    }
}

#[test]
fn the_udev_rule_is_one() {
    let job = &read("github-kvm.yml")["jobs"]["machine"];
    let mut steps = job["steps"].as_sequence().unwrap().iter();
    let run = steps
        .find_map(|step| step["run"].as_str().filter(|run| run.contains("udev")))
        .unwrap();
    let ran = Runner::new().run(run, &[]);
    let rule = ran
        .log
        .lines()
        .find(|line| line.starts_with("KERNEL"))
        .unwrap_or_else(|| panic!("{}", ran.log));
    // udev(7): a list of keys, operators and values in double quotes.
    let mut keys = Vec::new();
    for part in rule.split(", ") {
        let (key, rest) = part.split_once(['=', '+']).unwrap();
        let value = rest
            .trim_start_matches('=')
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        keys.push((key, value.unwrap_or_else(|| panic!("{part}"))));
        let operator = &part[key.len()..part.find('"').unwrap()];
        let is_match = key == "KERNEL";
        assert!(
            if is_match {
                operator == "=="
            } else {
                ["=", "+="].contains(&operator)
            },
            "{part}"
        );
    }
    assert!(
        keys.contains(&("KERNEL", "kvm")) && keys.contains(&("MODE", "0666")),
        "{keys:?}"
    );
    assert!(ran.log.contains("sudo udevadm control --reload-rules") && ran.log.contains("sudo udevadm trigger"));
}

#[test]
fn gitlabs_commands_run() {
    for name in ["gitlab-shell.yml", "gitlab-docker.yml"] {
        let job = &read(name)["machine"];
        assert!(
            job["timeout"].is_string() && job["artifacts"]["reports"]["junit"].is_string(),
            "{name}"
        );
        let [before, script, after] = ["before_script", "script", "after_script"].map(|part| strings(&job[part]));
        assert!(!before.is_empty() && !script.is_empty(), "{name}");
        let runner = Runner::new();
        let variables = variables(&job["variables"]);
        // The stand-ins come first in PATH whatever the script does to it.
        let keep = format!("export PATH=\"{}:$PATH\"\n", runner.bin.display());
        let whole = |parts: &[&Vec<String>]| {
            let lines: Vec<_> = parts
                .iter()
                .flat_map(|part| part.iter())
                .map(|line| format!("{line}\n{keep}"))
                .collect();
            lines.concat().replace(&format!("|| code=$?\n{keep}"), "|| code=$?\n")
        };
        let script = whole(&[&before, &script]);
        let ran = runner.run(&script, &variables);
        assert!(key_of(&ran.log), "{name}: {}", ran.log);
        let create = ran
            .log
            .lines()
            .find(|line| line.starts_with("provision create "))
            .unwrap();
        assert!(
            create.contains("--timeout ") && create.contains("--junit .provision-ci/checks.xml"),
            "{create}"
        );
        let ignored = fs::read_to_string(runner.hosts.path("project/.provisionignore")).unwrap();
        assert_eq!(ignored.trim(), "/.provision-ci/", "{name}");
        if !after.is_empty() {
            let ran = runner.run(&whole(&[&after]), &variables);
            assert!(ran.log.contains("provision destroy --yes"), "{name}: {}", ran.log);
        }
        if name == "gitlab-docker.yml" {
            let cached: Vec<String> = strings(&job["cache"]["paths"]);
            // GitLab caches what lies in the checkout only.
            assert!(
                cached.iter().all(|path| path.starts_with(".provision-ci/")),
                "{cached:?}"
            );
            // cargo replaces no program of which it has no record.
            let has = |path: &str| cached.iter().any(|cached| cached == path);
            assert!(
                !has(".provision-ci/cargo/bin/") || has(".provision-ci/cargo/.crates.toml"),
                "{cached:?}"
            );
            assert!(
                ran.log
                    .contains("provision cache export --stage docker .provision-ci/cache/"),
                "{}",
                ran.log
            );
            // The next job finds the file and takes it.
            let line = ran.log.lines().find(|line| line.contains("cache export")).unwrap();
            let file = line.rsplit(' ').next().unwrap();
            fs::write(runner.hosts.path("project").join(file), "").unwrap();
            fs::remove_file(runner.hosts.path("project/.provisionignore")).unwrap();
            let again = runner.run(&script, &variables);
            assert!(
                again.log.contains(&format!("provision cache import {file}")),
                "{}",
                again.log
            );
            assert!(!again.log.contains("cache export"), "{}", again.log);
        }
    }
}
