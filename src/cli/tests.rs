use std::collections::BTreeSet;
use std::time::Duration;

use clap::CommandFactory as _;

use super::*;
use crate::config::{Place, SETTINGS, Setting};
use crate::fault::Cause;

fn parsed(line: &str) -> Cli {
    Cli::try_parse_from(line.split(' ')).unwrap()
}

fn refused(line: &str) -> String {
    Cli::try_parse_from(line.split(' ')).unwrap_err().to_string()
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_setting_has_its_flag_and_variable() {
    let command = Cli::command();
    for name in ["create", "plan"] {
        let command = command.find_subcommand(name).unwrap();
        let flags: BTreeSet<_> = command
            .get_arguments()
            .filter_map(|arg| Some((arg.get_long()?, arg.get_env()?.to_str()?)))
            .collect();
        for flag in SETTINGS.iter().filter_map(|spec| spec.flag) {
            assert!(flags.contains(&flag), "{name} lacks {flag:?}");
        }
    }
}

#[test]
fn every_argument_has_help() {
    fn check(command: &clap::Command) {
        assert!(
            command.get_about().is_some() || command.get_name() == "help",
            "{}",
            command.get_name()
        );
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    let mut command = Cli::command();
    command.build();
    check(&command);
}

#[test]
fn settings_keep_their_text_and_place() {
    let Command::Create(args) = parsed("provision create --login root --cpus none --json").command else {
        panic!("not create");
    };
    let given: Vec<_> = args
        .settings
        .given
        .iter()
        .map(|g| (g.setting, g.text.as_str(), g.place.clone()))
        .collect();
    assert_eq!(
        given,
        [
            (Setting::Login, "root", Place::Flag("--login".to_owned())),
            (Setting::Cpus, "none", Place::Flag("--cpus".to_owned())),
        ]
    );
}

#[test]
fn commands_in_the_guest_keep_their_words() {
    let Command::Exec(args) = parsed("provision exec --name eval -- ls -l --json").command else {
        panic!("not exec");
    };
    assert_eq!(args.command, ["ls", "-l", "--json"]);
    assert_eq!(args.machine.name.unwrap().as_str(), "eval");
    assert!(refused("provision exec").contains("<CMD>"));
    assert!(refused("provision status --name ../x").contains("cannot be a machine's name"));
}

#[test]
fn global_flags_stand_anywhere() {
    assert!(parsed("provision --json list").global.json);
    assert!(parsed("provision list --json").global.json);
    assert!(refused("provision list -q -v").contains("cannot be used with"));
}

#[test]
fn the_long_help_tells_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    for cause in Cause::ALL {
        let code = format!("\n  {:>3}  ", cause.exit_code());
        assert!(help.contains(&code), "{cause:?} in {help}");
    }
}

#[test]
fn snapshots_are_named_and_removed() {
    let Command::Snapshot(args) = parsed("provision snapshot before --no-memory --name eval").command else {
        panic!("not snapshot");
    };
    assert!(args.no_memory && args.action.is_none());
    assert_eq!(args.snapshot.unwrap().as_str(), "before");
    let Command::Snapshot(args) = parsed("provision snapshot rm before --name eval").command else {
        panic!("not snapshot");
    };
    let Some(snapshot::Action::Rm(rm)) = args.action else {
        panic!("not rm");
    };
    assert_eq!(rm.snapshot.as_str(), "before");
    assert_eq!(rm.machine.name.unwrap().as_str(), "eval");
    for line in [
        "snapshot",
        "snapshot rm",
        "snapshot ../x",
        "snapshot .x",
        "restore",
        "restore a/b",
    ] {
        refused(&format!("provision {line}"));
    }
}

#[test]
fn the_time_of_a_run_reaches_all_but_what_takes_its_place() {
    let hour = Some(Duration::from_secs(3600));
    for (line, expected) in [
        ("provision create --timeout 1h", hour),
        ("provision --timeout 60m export --format raw", hour),
        ("provision import a.ova --name m --timeout=1h", hour),
        ("provision exec --timeout 1h -- true", hour),
        ("provision ssh --timeout 1h", None),
        ("provision --timeout 1h guard /run -- true", None),
        ("provision list", None),
    ] {
        let cli = parsed(line);
        assert_eq!(cli.command.limit(cli.global.timeout), expected, "{line}");
    }
    assert!(refused("provision create --timeout soon").contains("90m"));
}

#[test]
fn what_is_left_of_a_command() {
    for (line, beats, summary, junit) in [
        ("provision create --junit out/j.xml", true, true, Some("out/j.xml")),
        ("provision rebuild --junit j.xml", true, true, Some("j.xml")),
        ("provision fetch", true, true, None),
        ("provision import a.ova --name m", true, true, None),
        ("provision start", true, false, None),
        ("provision ssh", false, false, None),
        ("provision exec -- true", false, false, None),
        ("provision logs --follow", false, false, None),
        ("provision guard /run -- true", false, false, None),
    ] {
        let records = parsed(line).command.records();
        assert_eq!(
            (records.beats, records.summary, records.junit.as_deref()),
            (beats, summary, junit.map(std::path::Path::new)),
            "{line}"
        );
    }
}
