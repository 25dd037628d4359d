//! Package managers: what the needed programs' packages are called and how they are installed. Pure.

use std::path::Path;

use super::backports::{self, Source};
use super::check::SSH;
use super::os::Os;
use crate::process::CommandLine;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora.
    Dnf,
    /// Arch.
    Pacman,
    /// Alpine.
    Apk,
    /// macOS.
    Brew,
}

impl Manager {
    /// All, in the order in which they are looked for: brew last, as it may stand beside a distribution's own.
    pub const ALL: [Self; 5] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Apk, Self::Brew];

    /// Its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Apk => "apk",
            Self::Brew => "brew",
        }
    }

    /// The packages that hold what is missing. QEMU's are always all of them: on Debian the versions of both packages
    /// must agree, and apt would remove one to upgrade the other alone. What is not missing is left alone: OpenSSH's
    /// client must agree with its server.
    fn packages(self, missing: &[&str]) -> Vec<&'static str> {
        let qemu = missing.iter().any(|program| *program != SSH);
        let ssh = missing.contains(&SSH);
        let packages = [(qemu, self.qemu()), (ssh, self.ssh())];
        let needed = packages.into_iter().filter(|(needed, _)| *needed);
        needed.flat_map(|(_, packages)| packages).copied().collect()
    }

    /// The packages that hold `ssh`; macOS has it.
    const fn ssh(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["openssh-client"],
            Self::Dnf => &["openssh-clients"],
            Self::Pacman | Self::Brew => &["openssh"],
            Self::Apk => &["openssh-client-default"],
        }
    }

    /// The packages that hold `qemu-system-x86_64` and `qemu-img`.
    const fn qemu(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["qemu-system-x86", "qemu-utils"],
            Self::Dnf => &["qemu-system-x86-core", "qemu-img"],
            Self::Pacman => &["qemu-system-x86", "qemu-img"],
            Self::Apk => &["qemu-system-x86_64", "qemu-img"],
            Self::Brew => &["qemu"],
        }
    }

    /// Whether it changes the system and must be root for that; brew refuses to be.
    pub const fn needs_root(self) -> bool {
        !matches!(self, Self::Brew)
    }

    const fn install(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["install", "-y", "--no-install-recommends"],
            Self::Dnf => &["install", "-y"],
            Self::Pacman => &["-S", "--needed", "--noconfirm"],
            Self::Apk => &["add"],
            Self::Brew => &["install"],
        }
    }

    const fn update(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Apt | Self::Apk => Some(&["update"]),
            Self::Pacman => Some(&["-Sy"]),
            Self::Dnf | Self::Brew => None,
        }
    }
}

/// What is to be done for the missing packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// By which manager.
    pub manager: Manager,
    /// Which packages.
    pub packages: Vec<&'static str>,
    /// Whether its lists of packages must be read first.
    pub update: bool,
    /// A release other than the installed one to take the packages from.
    pub suite: Option<String>,
    /// The file that makes that release known, if it is not.
    pub source: Option<Source>,
    /// Whether the user is not root and the manager must be.
    pub sudo: bool,
}

impl Remedy {
    /// For a host that runs `os` and lacks the programs `missing`; `targets` is what `apt-get indextargets` prints,
    /// where there is apt. `lists` tells whether lists of packages are there.
    pub fn new(manager: Manager, missing: &[&str], os: &Os, targets: &str, lists: bool, root: bool) -> Self {
        let packages = manager.packages(missing);
        let qemu = manager.qemu().iter().any(|package| packages.contains(package));
        let backports = manager == Manager::Apt && os.needs_backports() && qemu;
        let source = backports
            .then(|| backports::missing_source(targets, &os.codename))
            .flatten();
        Self {
            manager,
            packages,
            update: source.is_some() || !lists,
            suite: backports.then(|| backports::suite(&os.codename)),
            source,
            sudo: manager.needs_root() && !root,
        }
    }

    /// The commands, in order; `source` is a temporary file that holds the line of `self.source`.
    pub fn commands(&self, source: Option<&Path>) -> Vec<CommandLine> {
        let mut lines = Vec::new();
        if let Some(file) = source {
            let install = CommandLine::new("install", ["-m", "644"]);
            lines.push(install.arg(file).arg(Source::PATH));
        }
        lines.extend(self.update.then(|| self.update_command()).flatten());
        lines.push(self.install_command());
        lines.into_iter().map(|line| self.as_root(line)).collect()
    }

    /// Reads the lists of packages anew after a failure, where that is a step of its own and does no harm: on Arch new
    /// lists without an upgrade of everything may break what is installed.
    pub fn refresh(&self) -> Option<CommandLine> {
        let harmless = self.manager != Manager::Pacman && !self.update;
        let line = harmless.then(|| self.update_command()).flatten()?;
        Some(self.as_root(line))
    }

    /// The same for who is root.
    pub fn by_root(&self) -> Self {
        Self {
            sudo: false,
            ..self.clone()
        }
    }

    /// What a person types to the same effect, in one line.
    pub fn typed(&self) -> String {
        let sudo = if self.sudo { "sudo " } else { "" };
        let source = self.source.iter().map(|source| {
            let line = shlex::try_quote(&source.line).map_or_else(|_| source.line.clone(), Into::into);
            format!("echo {line} | {sudo}tee {}", Source::PATH)
        });
        let commands = self.commands(None).into_iter().map(|line| line.to_string());
        let lines: Vec<String> = source.chain(commands).collect();
        lines.join(" && ")
    }

    fn update_command(&self) -> Option<CommandLine> {
        let args = self.manager.update()?;
        Some(CommandLine::new(self.manager.program(), args.iter().copied()))
    }

    fn install_command(&self) -> CommandLine {
        let release = self.suite.iter().flat_map(|suite| ["-t", suite.as_str()]);
        let args = self.manager.install().iter().copied();
        let args = args.chain(release).chain(self.packages.iter().copied());
        CommandLine::new(self.manager.program(), args)
    }

    fn as_root(&self, line: CommandLine) -> CommandLine {
        if self.sudo {
            CommandLine::new("sudo", [line.program.into_os_string()].into_iter().chain(line.args))
        } else {
            line
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str =
        "Created-By: Packages\nComponent: main\nRelease: bookworm\nRepo-URI: http://mirror.test/debian/";

    const QEMU: &[&str] = &["qemu-system-x86_64"];

    fn os(id: &str, codename: &str) -> Os {
        Os {
            id: id.to_owned(),
            codename: codename.to_owned(),
        }
    }

    #[test]
    fn each_manager_has_its_command() {
        let none = os("", "");
        for (manager, expected) in [
            (
                Manager::Apt,
                "sudo apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils",
            ),
            (Manager::Dnf, "sudo dnf install -y qemu-system-x86-core qemu-img"),
            (
                Manager::Pacman,
                "sudo pacman -S --needed --noconfirm qemu-system-x86 qemu-img",
            ),
            (Manager::Apk, "sudo apk add qemu-system-x86_64 qemu-img"),
            (Manager::Brew, "brew install qemu"),
        ] {
            let remedy = Remedy::new(manager, QEMU, &none, "", true, false);
            assert_eq!(remedy.typed(), expected);
            let root = Remedy::new(manager, QEMU, &none, "", true, true);
            assert_eq!(root.typed(), expected.trim_start_matches("sudo "));
        }
    }

    #[test]
    fn the_ssh_client_is_installed_where_it_is_missing() {
        let none = os("", "");
        for (manager, package) in [
            (Manager::Apt, "openssh-client"),
            (Manager::Dnf, "openssh-clients"),
            (Manager::Pacman, "openssh"),
            (Manager::Apk, "openssh-client-default"),
            (Manager::Brew, "openssh"),
        ] {
            let alone = Remedy::new(manager, &["ssh"], &none, "", true, true).typed();
            assert!(
                alone.ends_with(&format!(" {package}")) && !alone.contains("qemu"),
                "{alone}"
            );
            let both = Remedy::new(manager, &["qemu-img", "ssh"], &none, "", true, true).typed();
            assert!(
                both.ends_with(&format!(" {package}")) && both.contains("qemu"),
                "{both}"
            );
        }
        // Backports are QEMU's.
        let alone = Remedy::new(Manager::Apt, &["ssh"], &os("debian", "bookworm"), TARGETS, true, true);
        assert_eq!(
            alone.typed(),
            "apt-get install -y --no-install-recommends openssh-client"
        );
    }

    #[test]
    fn empty_lists_are_read_first() {
        let remedy = Remedy::new(Manager::Apt, QEMU, &os("ubuntu", "noble"), "", false, false);
        assert_eq!(
            remedy.typed(),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils"
        );
    }

    #[test]
    fn debian_12_takes_both_packages_from_backports() {
        let remedy = Remedy::new(Manager::Apt, QEMU, &os("debian", "bookworm"), TARGETS, true, false);
        insta::assert_snapshot!(remedy.typed(), @"echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/debian/ bookworm-backports main' | sudo tee /etc/apt/sources.list.d/provision-backports.list && sudo apt-get update && sudo apt-get install -y --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-utils");
        let commands = remedy.commands(Some(Path::new("/tmp/x")));
        let lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "sudo install -m 644 /tmp/x /etc/apt/sources.list.d/provision-backports.list",
                "sudo apt-get update",
                "sudo apt-get install -y --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-utils",
            ]
        );
    }

    #[test]
    fn a_known_backports_suite_is_not_added() {
        let targets = format!("{TARGETS}\n\n{}", TARGETS.replace("bookworm", "bookworm-backports"));
        let remedy = Remedy::new(Manager::Apt, QEMU, &os("debian", "bookworm"), &targets, true, true);
        assert_eq!(remedy.source, None);
        assert_eq!(
            remedy.typed(),
            "apt-get install -y --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-utils"
        );
    }
}
