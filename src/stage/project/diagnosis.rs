//! Why `make` failed, read from what it printed: what real projects stumble over, in words that say what to do.

use std::collections::VecDeque;

/// How many of its last lines are looked at: a failed build repeats its Dockerfile and its output behind the error.
const LINES: usize = 400;

/// The last lines that `make` printed.
#[derive(Debug, Default)]
pub struct Said(VecDeque<String>);

impl Said {
    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// Why `make` failed, as far as its lines tell.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        // What was said first led to the rest.
        self.0.iter().find_map(|line| diagnosis(line))
    }
}

/// Why `make` failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diagnosis {
    /// A folder that a volume is bound to is not there.
    NoFolder(String),
    /// Something that the user can mend.
    Mend {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
}

fn diagnosis(line: &str) -> Option<Diagnosis> {
    let by = |what: String, hint: &str| {
        let hint = hint.to_owned();
        Some(Diagnosis::Mend { what, hint })
    };
    if let Some(folder) = unmountable(line) {
        return Some(Diagnosis::NoFolder(folder.to_owned()));
    }
    if let Some(release) = gone_release(line) {
        return by(
            format!("its package mirrors no longer hold the release “{release}”: a base image is too old"),
            "name a release that is still supported in the Dockerfiles' FROM lines, as debian:bookworm",
        );
    }
    if let Some(path) = between(line, "env file ", " not found") {
        return by(
            format!("the project needs {path}, which its folder does not hold"),
            "`--env FILE` supplies srcs/.env; another place can be filled in the project folder itself",
        );
    }
    if let Some(path) = between(line, "bind source path does not exist: ", "") {
        let is_secret = path.contains("/secrets/");
        let hint = if is_secret {
            "`--secrets DIR` supplies secrets/"
        } else {
            "a volume or secret in the compose file names it: put it into the project folder"
        };
        return by(format!("{path} is not there"), hint);
    }
    let (_, what, hint) = TABLE.iter().find(|(text, ..)| line.contains(text))?;
    by((*what).to_owned(), hint)
}

/// What a line holds, what it means, and what to do.
const TABLE: [(&str, &str, &str); 8] = [
    (
        "toomanyrequests",
        "Docker Hub allows this network no more downloads now",
        "`--registry-mirror URL` takes images from a mirror; or try again later",
    ),
    (
        "no space left on device",
        "the guest's disk is full",
        "`--disk SIZE` makes a larger one",
    ),
    (
        "Temporary failure resolving",
        "a build could resolve no name",
        "`--dns IP` sets the guest's name servers, `--http-proxy URL` its proxy",
    ),
    (
        "Temporary failure in name resolution",
        "the guest could resolve no name",
        "`--dns IP` sets its name servers, `--http-proxy URL` its proxy",
    ),
    (
        "the input device is not a TTY",
        "it wants a terminal, which nobody sits at",
        "take `-t` from the docker commands in the Makefile, or `--target` a target without them",
    ),
    (
        "No rule to make target",
        "the Makefile has no such target, or needs a file that is not there",
        "`--target TARGET` names another; .provisionignore may keep a file back",
    ),
    (
        "*** No targets",
        "the Makefile has no target",
        "`--project DIR` names the folder with the right one",
    ),
    (
        "manifest unknown",
        "an image that it names does not exist",
        "look at the FROM lines of the Dockerfiles",
    ),
];

/// The folder of a volume's `device` that is not there, in the words of Docker's engine (moby, `volume/local`).
fn unmountable(line: &str) -> Option<&str> {
    let folder = between(line, "failed to mount local volume: mount ", ":/")?;
    line.contains("no such file or directory").then_some(folder)
}

/// The release of which apt says that its mirror has none (apt-secure(8)).
fn gone_release(line: &str) -> Option<&str> {
    let repository = between(line, "The repository '", " Release' ")?;
    line.contains("does not have a Release file").then_some(())?;
    repository.split(' ').nth(1)
}

/// What stands between `start` and `end`; up to the line's end if that is empty.
fn between<'a>(line: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(start)?;
    let found = if end.is_empty() { rest } else { rest.split_once(end)?.0 };
    let found = found.trim();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as apt, Docker 26 and Compose 2 print them, and what the diagnosis says.
    #[test]
    fn what_projects_stumble_over_is_named() {
        let table = [
            (
                "#9 0.525 E: The repository 'http://mirror.test/debian buster Release' does not have a Release file.",
                "buster",
                "bookworm",
            ),
            (
                "env file /home/jdoe/inception/srcs/.env not found: stat /home/jdoe/inception/srcs/.env: no such file or directory",
                "/home/jdoe/inception/srcs/.env",
                "--env",
            ),
            (
                "Error response from daemon: invalid mount config for type \"bind\": bind source path does not exist: /home/jdoe/inception/secrets/db_password.txt",
                "secrets/db_password.txt",
                "--secrets",
            ),
            (
                "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
                "Docker Hub",
                "--registry-mirror",
            ),
            (
                "make: *** No rule to make target 'up'.  Stop.",
                "no such target",
                "--target",
            ),
            ("the input device is not a TTY", "terminal", "-t"),
        ];
        for (line, what_part, hint_part) in table {
            let Some(Diagnosis::Mend { what, hint }) = diagnosis(line) else {
                panic!("{line} says nothing");
            };
            assert!(what.contains(what_part), "{what}");
            assert!(hint.contains(hint_part), "{hint}");
        }
        assert_eq!(diagnosis("make: *** [Makefile:3: all] Error 1"), None);
    }

    #[test]
    fn a_missing_folder_of_a_volume_is_found() {
        let line = "Error response from daemon: failed to populate volume: error while mounting volume \
                    '/var/lib/docker/volumes/srcs_db/_data': failed to mount local volume: mount \
                    /home/jdoe/data/mariadb:/var/lib/docker/volumes/srcs_db/_data, flags: 0x1000: no such file or directory";
        assert_eq!(
            diagnosis(line),
            Some(Diagnosis::NoFolder("/home/jdoe/data/mariadb".into()))
        );
    }

    #[test]
    fn the_first_cause_counts() {
        let mut said = Said::default();
        for line in [
            "#1 building",
            "write /x: no space left on device",
            "make: *** No rule to make target 'x'.",
        ] {
            said.line(line);
        }
        let Some(Diagnosis::Mend { what, .. }) = said.diagnosis() else {
            panic!("nothing was found");
        };
        assert!(what.contains("full"), "{what}");
    }
}
