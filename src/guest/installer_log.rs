//! What debian-installer does, by its own log.
//!
//! The log comes over the second serial port in the format of busybox's `syslogd -S`: `Nov 28 09:52:42 main-menu[1534]:
//! INFO: Menu item 'bootstrap-base' selected`. `main-menu` tells which of the installer's steps begins, debootstrap passes
//! on what dpkg says, and `provision` is `late.sh`.

/// The parts of an installation in their order, with what really happens in each of them.
pub const PARTS: [(&str, &str); 11] = [
    ("start", "firmware, the installer's kernel and its first steps"),
    ("medium", "finding and mounting the ISO"),
    ("components", "the installer's own parts, from the ISO"),
    ("hardware", "disk drivers"),
    ("partitioning", "and file systems"),
    (
        "base system",
        "debootstrap reads and checks all packages, unpacks and sets up the required ones",
    ),
    ("kernel", "unpacked and set up in the same run of dpkg as all others"),
    ("packages", "that run unpacks all others"),
    (
        "configure",
        "that run sets them up; then what the installer adds at its end",
    ),
    (
        "boot loader",
        "GRUB for BIOS and UEFI beside the building of the initramfs, then the boot menu",
    ),
    ("finish", "locale, network, keys, unmounting, power-off"),
];

/// So many packages set up in a row are the required ones: before that debootstrap sets up single ones, and what comes
/// after that is everything else. So many unpacked in a row after that are all of them.
const IN_A_ROW: u32 = 20;

/// Reads an installer's log line by line and tells where a part begins.
#[derive(Debug, Clone, Default)]
pub struct Follower {
    part: Option<&'static str>,
    /// How many packages dpkg has set up without unpacking any.
    set_up: u32,
    /// How many it has unpacked without setting up any.
    unpacked: u32,
    /// Whether it sets up all that it has unpacked.
    configures: bool,
}

impl Follower {
    /// The part that begins with `line`, if one does.
    pub fn line(&mut self, line: &str) -> Option<&'static str> {
        let part = self.part_of(line)?;
        if self.part == Some(part) {
            return None;
        }
        self.part = Some(part);
        Some(part)
    }

    fn part_of(&mut self, line: &str) -> Option<&'static str> {
        // The time of day has a fixed width.
        let (tag, text) = line.get(16..)?.split_once(": ")?;
        match tag.split('[').next()? {
            "main-menu" => menu(text),
            "debootstrap" => self.dpkg(text),
            "provision" => late(text),
            _ => None,
        }
    }

    /// What dpkg says: first of the required packages, then of all others.
    fn dpkg(&mut self, text: &str) -> Option<&'static str> {
        let (action, package) = text
            .strip_prefix("Setting up ")
            .map(|package| (Action::SetUp, package))
            .or_else(|| Some((Action::Unpack, text.strip_prefix("Preparing to unpack ")?)))?;
        let (set_up, unpacked) = (self.set_up, self.unpacked);
        (self.set_up, self.unpacked) = match action {
            Action::SetUp => (set_up + 1, 0),
            Action::Unpack => (0, unpacked + 1),
        };
        if self.part == Some("base system") && (action == Action::SetUp || set_up < IN_A_ROW) {
            return None;
        }
        self.configures |= action == Action::SetUp && unpacked >= IN_A_ROW;
        // `.../052-linux-image-6.12.48_amd64.deb` or `linux-image-6.12.48 (6.12.48-1) ...`; the package without a
        // version in its name is empty.
        let is_kernel = package
            .split("linux-image-")
            .nth(1)
            .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
        Some(match (is_kernel, self.configures) {
            (true, _) => "kernel",
            (false, true) => "configure",
            (false, false) => "packages",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Unpack,
    SetUp,
}

/// Which part a step of the installer's menu begins.
fn menu(text: &str) -> Option<&'static str> {
    let item = text.strip_prefix("INFO: Menu item '")?.strip_suffix("' selected")?;
    match item {
        "cdrom-detect" => Some("medium"),
        "load-cdrom" => Some("components"),
        "disk-detect" => Some("hardware"),
        "partman-base" => Some("partitioning"),
        "bootstrap-base" => Some("base system"),
        "finish-install" => Some("finish"),
        _ => None,
    }
}

/// What `late.sh` says of itself.
fn late(text: &str) -> Option<&'static str> {
    match text {
        "boot loader" => Some("boot loader"),
        "done" => Some("finish"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part that begins, with the time of day of its line.
    fn begins(log: &str) -> Vec<(&str, &'static str)> {
        let mut follower = Follower::default();
        let lines = log.lines();
        lines
            .filter_map(|line| Some((line.get(7..15)?, follower.line(line)?)))
            .collect()
    }

    /// The log of a real installation of 28 November 2026 under TCG, with the kernel's and some other lines left out.
    #[test]
    fn a_real_log_has_every_part() {
        let log = include_str!("../../tests/fixtures/timings/installer.log");
        let begins = begins(log);
        assert_eq!(
            begins,
            [
                ("09:50:00", "medium"),
                ("09:50:18", "components"),
                ("09:51:17", "hardware"),
                ("09:51:37", "partitioning"),
                ("09:52:42", "base system"),
                ("09:57:54", "packages"),
                ("09:58:31", "kernel"),
                ("09:58:59", "packages"),
                ("09:59:24", "configure"),
                ("10:01:03", "kernel"),
                ("10:01:23", "configure"),
                ("10:01:48", "finish"),
                ("10:01:49", "boot loader"),
                ("10:02:10", "finish"),
            ]
        );
        for (_, part) in begins {
            assert!(PARTS.iter().any(|(name, _)| *name == part), "{part}");
        }
    }

    #[test]
    fn lines_of_others_begin_nothing() {
        for line in [
            "",
            "Nov 28 09:50:18",
            "Nov 28 09:50:18 kernel: [   12.3] main-menu: INFO: Menu item 'partman-base' selected",
            "Nov 28 09:50:18 main-menu[1534]: INFO: Menu item 'netcfg' selected",
            "Nov 28 09:50:18 anna[1865]: DEBUG: retrieving base-installer 1.226",
            "Nov 28 09:50:18 provision: network",
            "Nov 28 09:50:1\u{fffd}\u{fffd} main-menu[1]: INFO: Menu item 'partman-base' selected",
        ] {
            assert_eq!(Follower::default().line(line), None, "{line}");
        }
    }
}
