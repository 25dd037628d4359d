//! What makes the program at home in a shell: completions, manual pages, OpenSSH's configuration; read by the programs
//! that they are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::place::Place;
use super::support::program;

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn is_here(program: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
    if !found {
        println!("{program} is not here");
    }
    found
}

/// The script of a shell as a file.
fn script(place: &Place, shell: &str) -> PathBuf {
    let file = place.path(shell);
    fs::write(&file, text(&place.run(&["completions", shell]))).unwrap();
    file
}

/// What bash would complete the last of these words to.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let ask = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \
        _provision provision \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-c", ask, "bash"])
        .arg(script)
        .arg("provision")
        .args(words);
    text(&bash.output().unwrap()).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let place = Place::new();
    let script = script(&place, "bash");
    for (words, wanted) in [
        (&["cre"][..], &["create", "credentials"][..]),
        (&["cache", "pr"], &["prune"]),
        (&["create", "--acc"], &["--accelerator"]),
        (&["completions", "z"], &["zsh"]),
        (&["snapshot", "r"], &["rm"]),
        // Hidden.
        (&["guar"], &[]),
    ] {
        let mut found = completed(&script, words);
        found.retain(|word| !word.is_empty());
        found.sort();
        for word in wanted {
            assert!(found.iter().any(|found| found == word), "{words:?}: {found:?}");
        }
        assert!(!wanted.is_empty() || found.is_empty(), "{words:?}: {found:?}");
    }
}

#[test]
fn every_shell_reads_its_script() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = script(&place, shell);
        let said = fs::read_to_string(&script).unwrap();
        assert!(said.contains("snapshots") && !said.contains("guard"), "{shell}");
        text(&Command::new(shell).arg("-n").arg(&script).output().unwrap());
    }
    let json = place.json(&["completions", "fish"]);
    assert_eq!(json[0]["shell"], "fish");
    assert_eq!(place.run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn manual_pages_are_sound() {
    let place = Place::new();
    let folder = place.path("a man/man1");
    text(&place.run(&["man", "--output", folder.to_str().unwrap()]));
    let pages: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let there = |name: &str| pages.contains(&folder.join(name));
    for page in [
        "provision.1",
        "provision-create.1",
        "provision-ssh-config.1",
        "provision-cache-prune.1",
    ] {
        assert!(there(page), "{page} is not among {pages:?}");
    }
    assert!(!there("provision-guard.1") && !there("provision-help.1"));
    let alone = text(&place.run(&["man"]));
    assert_eq!(
        alone.trim_end(),
        fs::read_to_string(folder.join("provision.1")).unwrap().trim_end()
    );
    assert!(
        alone.contains("provision\\-create(1)") && alone.contains("Exit codes"),
        "{alone}"
    );
    if is_here("groff") {
        for page in &pages {
            let mut groff = Command::new("groff");
            let output = groff
                .args(["-Kutf8", "-man", "-ww", "-Tutf8", "-z"])
                .arg(page)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
        }
    }
    if is_here("man") {
        let mut man = Command::new("man");
        let shown = text(
            &man.arg("-l")
                .arg(folder.join("provision-create.1"))
                .env("MANPAGER", "cat")
                .output()
                .unwrap(),
        );
        assert!(shown.contains("--accelerator"), "{shown}");
    }
}

/// What OpenSSH makes of a block: `ssh -G` tells every option that counts, by `option value`.
fn understood(config: &Path, name: &str) -> Vec<String> {
    let output = Command::new("ssh")
        .arg("-G")
        .arg("-F")
        .arg(config)
        .arg(name)
        .output()
        .unwrap();
    text(&output).lines().map(str::to_owned).collect()
}

#[test]
fn openssh_understands_the_block() {
    let place = Place::new();
    for folder in ["data", "my data", "100% of it", "a \"b\" \\c", "# it's", "d=1"] {
        let data = place.path(folder);
        let machine = data.join("machines/eval-1");
        place.machine("eval-1", "jdoe", None);
        if folder != "data" {
            fs::rename(place.path("data"), &data).unwrap();
        }
        fs::create_dir_all(machine.join("identity")).unwrap();
        fs::write(machine.join("identity/id_ed25519"), "a key").unwrap();
        let mut command = place.command(&["ssh-config", "--name", "eval-1"]);
        let output = command.env("PROVISION_DATA_DIR", &data).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("does not run"), "{said}");
        let config = place.path("config");
        // A user's own configuration, which counts where the block says nothing.
        fs::write(
            &config,
            text(&output) + "Host *\n    ProxyJump bastion\n    User somebody\n    Port 22\n",
        )
        .unwrap();
        let options = understood(&config, "eval-1");
        let identity = machine.join("identity");
        // Of the two, the first is told before percent signs are expanded.
        let path = |name: &str| identity.join(name).display().to_string();
        for wanted in [
            "hostname 127.0.0.1".to_owned(),
            "port 2".to_owned(),
            "user jdoe".to_owned(),
            "identitiesonly yes".to_owned(),
            "stricthostkeychecking true".to_owned(),
            "hostkeyalias provision-guest".to_owned(),
            format!("identityfile {}", path("id_ed25519").replace('%', "%%")),
            format!("userknownhostsfile {}", path("known_hosts")),
        ] {
            assert!(options.contains(&wanted), "{folder}: no “{wanted}” in {options:#?}");
        }
        assert!(
            !options.iter().any(|option| option.starts_with("proxyjump")),
            "{options:#?}"
        );
        fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn a_machine_that_is_not_made_has_no_block() {
    let place = Place::new();
    place.machine("m", "jdoe", None);
    let output = place.run(&["ssh-config", "--name", "m"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(place.run(&["ssh-config", "--name", "nobody"]).status.code(), Some(2));
}

#[test]
fn completions_need_no_home() {
    let output = Command::new(program())
        .args(["completions", "bash"])
        .env_clear()
        .output()
        .unwrap();
    assert!(text(&output).contains("complete"));
}
