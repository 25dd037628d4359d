//! The parts of a stage, as its events tell them.

use serde::{Deserialize, Serialize};

use crate::event::Stage;
use crate::guest::installer_log;

/// A part of a stage, and how long the stage was at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// All the time spent on it.
    pub seconds: f64,
}

/// What installing Docker goes through, in order; unpacking and setting up take turns.
const DOCKER: [(&str, u8); 6] = [
    ("prepare", 0),
    ("package lists", 1),
    ("download", 2),
    ("unpack", 3),
    ("configure", 3),
    ("verify", 4),
];

/// What happens in a part, for a person; nothing where its name says it.
pub fn about(stage: Stage, part: &str) -> &'static str {
    let known: &[(&str, &'static str)] = match stage {
        Stage::Install => &installer_log::PARTS,
        Stage::Docker => &[
            ("boot", "until the guest answers on SSH"),
            ("prepare", "leading the guest to this host's store of packages"),
            ("package lists", "apt update"),
            ("download", "choosing and fetching packages"),
            ("unpack", "dpkg unpacks them"),
            ("configure", "dpkg sets them up and starts the engine"),
            ("verify", "the engine answers; which packages there are"),
        ],
        Stage::Project => &[
            ("undo", "back to the account, with the build cache"),
            ("copy", "Makefile, srcs and secrets"),
            ("make", "image builds and the start of the services"),
            ("site", "until it answers"),
        ],
        _ => &[],
    };
    let shared = [
        ("boot", "or going on from a kept memory"),
        ("end", "power-off, or keeping the memory"),
    ];
    let found = known.iter().chain(&shared).find(|(name, _)| *name == part);
    found.map_or("", |(_, about)| about)
}

/// The part with which a stage begins.
pub const fn first(stage: Stage) -> &'static str {
    match stage {
        Stage::Install => "start",
        Stage::Media => "resolve",
        _ => "boot",
    }
}

/// The part that a step begins.
pub fn of_step(stage: Stage, text: &str) -> String {
    let begins = |what: &str| text.starts_with(what);
    let part = match (stage, text) {
        (_, "booting" | "going on from the kept memory") => "boot",
        (_, "powering off" | "keeping the memory") => "end",
        (Stage::Install, _) => return of_console(text).to_owned(),
        (Stage::Docker, "installing Docker") => "prepare",
        (Stage::Docker, "noting down the packages") => "verify",
        (Stage::Media, _) if begins("downloading ") => "download",
        (Stage::Media, _) if begins("checking ") => "check",
        (Stage::Media, _) if begins("resolving ") => "resolve",
        (Stage::Account, _) if begins("making the user ") => "user",
        (Stage::Project, "taking back the former build") => "undo",
        (Stage::Project, "copying the project") => "copy",
        (Stage::Project, "waiting for the site's first start") => "site",
        (Stage::Project, _) if begins("running make") => "make",
        (Stage::Project, _) if begins("pulling ") => "pull",
        (Stage::Verify, _) if begins("waiting for https://") => "site",
        (Stage::Verify, _) if begins("keeping this moment") => "moment",
        _ => text,
    };
    part.to_owned()
}

/// What the installer's console tells, for a machine whose installer's log does not arrive: less than the log.
fn of_console(text: &str) -> &str {
    match text {
        "finding the medium" => "medium",
        "loading the installer's components" => "components",
        "detecting hardware" => "hardware",
        "partitioning" => "partitioning",
        "installing the system's packages" => "base system",
        "initramfs and boot loader" => "finish",
        _ => "start",
    }
}

/// The part that a line of a program in the guest begins, if the stage is at `now`.
pub fn of_output(stage: Stage, line: &str, now: &str) -> Option<&'static str> {
    if stage != Stage::Docker {
        return None;
    }
    let begins = |what: &str| line.starts_with(what);
    let part = match line {
        "docker: package lists" => "package lists",
        "docker: packages" => "download",
        _ if begins("docker: engine ") => "verify",
        _ if begins("Selecting previously unselected package ") || begins("Preparing to unpack ") => "unpack",
        _ if begins("Setting up ") => "configure",
        _ => return None,
    };
    let rank = |name: &str| DOCKER.iter().find(|(known, _)| *known == name).map(|(_, rank)| *rank);
    (part != now && rank(part)? >= rank(now)?).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::console_texts;

    #[test]
    fn steps_are_named() {
        for (stage, text, part) in [
            (Stage::Install, "reading the installer from the ISO", "start"),
            (Stage::Install, "partitioning", "partitioning"),
            (Stage::Docker, "going on from the kept memory", "boot"),
            (Stage::Project, "running make as jdoe", "make"),
            (Stage::Project, "pulling nginx as it is pinned", "pull"),
            (Stage::Verify, "waiting for https://jdoe.42.fr", "site"),
            (Stage::Verify, "something new", "something new"),
        ] {
            assert_eq!(of_step(stage, text), part, "{text}");
        }
    }

    #[test]
    fn the_installer_s_console_names_the_parts_of_its_log() {
        for text in console_texts() {
            let part = of_step(Stage::Install, text);
            assert!(
                installer_log::PARTS.iter().any(|(name, _)| *name == part),
                "{text}: {part}"
            );
            assert!(part != "start" || text == "starting the installer", "{text}");
        }
    }

    /// The lines of a real run that count, in the order in which they came.
    #[test]
    fn docker_s_installation_is_told_apart_by_what_it_prints() {
        let lines = [
            "docker: name servers: 10.0.2.3",
            "docker: package lists",
            "Fetched 10.2 MB in 9s (1160 kB/s)",
            "docker: packages",
            "Get:1 http://mirror.test/debian trixie/main amd64 runc amd64 1.1.15 [3243 kB]",
            "Selecting previously unselected package runc.",
            "Preparing to unpack .../00-runc_1.1.15_amd64.deb ...",
            "Unpacking runc (1.1.15+ds1-2+deb13u1) ...",
            "Setting up libip4tc2:amd64 (1.8.11-2) ...",
            "docker: package lists",
            "Preparing to unpack .../git_2.47.deb ...",
            "Setting up git (1:2.47) ...",
            "docker: engine 26.1.5+dfsg1, cgroup driver systemd",
            "docker: docker compose 2.26.1-4",
        ];
        let mut now = "prepare";
        let mut parts = vec![now];
        for line in lines {
            now = of_output(Stage::Docker, line, now).unwrap_or(now);
            if parts.last() != Some(&now) {
                parts.push(now);
            }
        }
        let turns = ["unpack", "configure", "unpack", "configure"];
        assert_eq!(
            parts,
            [&["prepare", "package lists", "download"][..], &turns, &["verify"]].concat()
        );
        // Other stages print what they like.
        assert_eq!(of_output(Stage::Project, "Setting up nginx", "make"), None);
        assert_eq!(of_output(Stage::Docker, "Setting up nginx", "boot"), None);
    }
}
