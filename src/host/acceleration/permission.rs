//! Who may open `/dev/kvm`, and what lets another in.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::seen::Seen;

/// How a device lies there for the user who looks at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Its permission bits.
    pub mode: u32,
    /// The number of the group that owns it.
    pub gid: u32,
    /// That group's name.
    pub group: Option<String>,
    /// Whether the user's processes are in that group.
    pub in_group: bool,
    /// Whether `/etc/group` has the user in it, so that another login would be.
    pub listed: bool,
}

/// Makes the device everybody's: what GitHub's runners need, whose user is not in the group and cannot log in again.
const RULE: &str = "`echo 'KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0666\", OPTIONS+=\"static_node=kvm\"' | \
    sudo tee /etc/udev/rules.d/99-kvm4all.rules && sudo udevadm control --reload-rules && \
    sudo udevadm trigger --name-match=kvm` opens it to everybody on this host";

impl Device {
    /// Looks at a device; `None` where it is not there.
    pub fn look(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let gid = metadata.gid();
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let user = ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
        let own = rustix::process::getgroups().unwrap_or_default();
        let entry = group(&groups, gid);
        Some(Self {
            mode: metadata.mode() & 0o777,
            gid,
            in_group: rustix::process::getegid().as_raw() == gid || own.iter().any(|group| group.as_raw() == gid),
            listed: entry.is_some_and(|(_, members)| members.split(',').any(|member| Some(member) == user.as_deref())),
            group: entry.map(|(name, _)| name.to_owned()),
        })
    }

    const fn opens_to_group(&self) -> bool {
        self.mode & 0o060 == 0o060
    }
}

/// Name and members of a group, by its number: group(5).
pub(super) fn group(groups: &str, gid: u32) -> Option<(&str, &str)> {
    groups.lines().find_map(|line| {
        let [name, _, number, members] = line.splitn(4, ':').collect::<Vec<_>>().try_into().ok()?;
        (number.parse() == Ok(gid)).then_some((name, members))
    })
}

/// What lets this user in.
pub(super) fn hint(seen: &Seen) -> String {
    if seen.opened == Err(Errno::PERM.raw_os_error()) {
        return "the container may use no device that it was not given: start it with `--device /dev/kvm`".to_owned();
    }
    let device = seen.device.clone().unwrap_or_default();
    let gid = device.gid;
    // An access control list that says otherwise.
    if device.opens_to_group() && device.in_group {
        return "`sudo setfacl -m \"u:$USER:rw\" /dev/kvm` (until the next start of this host)".to_owned();
    }
    // Root's group opens more than this device.
    if !device.opens_to_group() || gid == 0 {
        return if seen.container.is_some() {
            "`chmod 666 /dev/kvm` as root, in this container or at its host".to_owned()
        } else {
            RULE.to_owned()
        };
    }
    match (&device.group, seen.container) {
        (_, Some(_)) => format!("start the container with `--group-add {gid}`, the group that owns the device"),
        (Some(_), None) if seen.ci => RULE.to_owned(),
        (Some(group), None) if device.listed => {
            format!("you are in the group {group} from your next login on; `newgrp {group}` for this shell")
        }
        (Some(group), None) => {
            format!("`sudo usermod -aG {group} \"$USER\"`, then log in again, or `newgrp {group}` for this shell")
        }
        (None, None) => RULE.to_owned(),
    }
}
