//! Every setting, once: its key in the file, its flag, its environment variable and its help are made from this table.

/// A setting that the user may give; [`SETTINGS`] says what each one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    Login,
    Name,
    Guest,
    Project,
    Target,
    Env,
    Secrets,
    MakeTimeout,
    Machine,
    Accelerator,
    Cpus,
    Memory,
    Disk,
    StallTimeout,
    Installer,
    HttpsPort,
    SshPort,
    DockerSource,
    RegistryMirror,
    HttpProxy,
    Dns,
    DebianMirror,
    SnapshotMirror,
    Iso,
    IsoPath,
    IsoUrl,
    IsoSha256,
    IsoSha512,
}

/// How a value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `"text"`
    Text,
    /// `42`
    Number,
    /// `["a", "b"]`; on the command line separated by commas.
    List,
}

/// What is known of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Which.
    pub setting: Setting,
    /// Its table (empty for the top level) and its key in the file.
    pub key: Option<(&'static str, &'static str)>,
    /// How it is written in the file.
    pub kind: Kind,
    /// Its flag without the dashes, and its environment variable.
    pub flag: Option<(&'static str, &'static str)>,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// One line of help.
    pub help: &'static str,
}

impl Setting {
    /// What is known of this setting. The table is in the order of the enumeration, which a test holds it to.
    pub const fn spec(self) -> &'static Spec {
        &SETTINGS[self as usize]
    }
}

const fn both(
    setting: Setting,
    key: (&'static str, &'static str),
    kind: Kind,
    flag: (&'static str, &'static str),
    value: &'static str,
    help: &'static str,
) -> Spec {
    Spec {
        setting,
        key: Some(key),
        kind,
        flag: Some(flag),
        value,
        help,
    }
}

/// All settings, in the order of the help.
#[rustfmt::skip]
pub const SETTINGS: [Spec; 28] = {
    use Kind::{List, Number, Text};
    use Setting as S;
    [
        both(S::Login, ("", "login"), Text, ("login", "PROVISION_LOGIN"), "LOGIN",
            "The guest's user; the site is https://LOGIN.42.fr [default: your user name here]"),
        both(S::Name, ("", "name"), Text, ("name", "PROVISION_NAME"), "NAME",
            "The machine's name on this host [default: LOGIN]"),
        both(S::Guest, ("", "guest"), Text, ("guest", "PROVISION_GUEST"), "GUEST",
            "The guest definition, one of `provision guests` [default: debian-13]"),
        both(S::Project, ("project", "path"), Text, ("project", "PROVISION_PROJECT"), "DIR",
            "The folder with Makefile and srcs/ [default: that of provision.toml, else the current one]"),
        both(S::Target, ("project", "target"), Text, ("target", "PROVISION_TARGET"), "TARGET",
            "The make target [default: the Makefile's first]"),
        both(S::Env, ("project", "env"), Text, ("env", "PROVISION_ENV"), "FILE",
            "A file that becomes srcs/.env in the guest"),
        both(S::Secrets, ("project", "secrets"), Text, ("secrets", "PROVISION_SECRETS"), "DIR",
            "A folder that becomes secrets/ in the guest"),
        both(S::MakeTimeout, ("project", "make_timeout"), Text, ("make-timeout", "PROVISION_MAKE_TIMEOUT"), "TIME",
            "How long make may take, as in 90m or 2h [default: 60m, longer without hardware acceleration]"),
        both(S::Machine, ("machine", "program"), Text, ("machine", "PROVISION_MACHINE"), "auto|qemu|virtualbox",
            "What runs the machine [default: auto, QEMU where it is accelerated, else VirtualBox where it works, else QEMU]"),
        both(S::Accelerator, ("machine", "accelerator"), Text, ("accelerator", "PROVISION_ACCELERATOR"), "auto|kvm|hvf|tcg",
            "What runs the guest's code [default: auto, the fastest in which a guest really runs]"),
        both(S::Cpus, ("machine", "cpus"), Number, ("cpus", "PROVISION_CPUS"), "N",
            "Virtual CPUs [default: 2]"),
        both(S::Memory, ("machine", "memory"), Text, ("memory", "PROVISION_MEMORY"), "SIZE",
            "The guest's memory, at least 1G [default: 4G]"),
        both(S::Disk, ("machine", "disk"), Text, ("disk", "PROVISION_DISK"), "SIZE",
            "The disk's size, at least 8G; only what is written takes space [default: 20G]"),
        both(S::StallTimeout, ("machine", "stall_timeout"), Text, ("stall-timeout", "PROVISION_STALL_TIMEOUT"), "TIME",
            "How long a guest may stand still while it installs or boots [default: 2m, longer without hardware acceleration]"),
        both(S::Installer, ("machine", "installer"), Text, ("installer", "PROVISION_INSTALLER"), "kernel|medium",
            "What starts the installer: its kernel alone, or the whole medium remastered [default: kernel where the machine can]"),
        both(S::HttpsPort, ("ports", "https"), Number, ("https-port", "PROVISION_HTTPS_PORT"), "PORT",
            "The port on 127.0.0.1 for the site [default: 443 if you may, else 8443, else a free one]"),
        both(S::SshPort, ("ports", "ssh"), Number, ("ssh-port", "PROVISION_SSH_PORT"), "PORT",
            "The port on 127.0.0.1 for SSH [default: a free one]"),
        both(S::DockerSource, ("docker", "source"), Text, ("docker-source", "PROVISION_DOCKER_SOURCE"), "debian|docker-ce",
            "Whose Docker packages [default: the guest definition's first choice]"),
        both(S::RegistryMirror, ("docker", "registry_mirror"), Text, ("registry-mirror", "PROVISION_REGISTRY_MIRROR"), "URL",
            "A mirror of Docker Hub as the guest reaches it; this host is 10.0.2.2 there"),
        both(S::HttpProxy, ("network", "http_proxy"), Text, ("http-proxy", "PROVISION_HTTP_PROXY"), "URL",
            "A proxy as the guest reaches it; your http_proxy is used for downloads here, not for the guest"),
        both(S::Dns, ("network", "dns"), List, ("dns", "PROVISION_DNS"), "IP,IP",
            "The guest's name servers [default: this host's, through QEMU]"),
        both(S::DebianMirror, ("network", "debian_mirror"), Text, ("debian-mirror", "PROVISION_DEBIAN_MIRROR"), "URL",
            "The Debian mirror [default: the installer's]"),
        both(S::SnapshotMirror, ("network", "snapshot_mirror"), Text, ("snapshot-mirror", "PROVISION_SNAPSHOT_MIRROR"), "URL",
            "Where `--locked` finds old packages: Debian's snapshot archive, or a mirror of it [default: the guest definition's]"),
        Spec { setting: S::Iso, key: None, kind: Text, flag: Some(("iso", "PROVISION_ISO")), value: "PATH|URL",
            help: "Another ISO than the guest definition's; a URL needs a checksum" },
        Spec { setting: S::IsoPath, key: Some(("iso", "path")), kind: Text, flag: None, value: "PATH",
            help: "Another ISO on this host" },
        Spec { setting: S::IsoUrl, key: Some(("iso", "url")), kind: Text, flag: None, value: "URL",
            help: "Another ISO to download" },
        both(S::IsoSha256, ("iso", "sha256"), Text, ("iso-sha256", "PROVISION_ISO_SHA256"), "HEX",
            "The ISO's SHA-256"),
        both(S::IsoSha512, ("iso", "sha512"), Text, ("iso-sha512", "PROVISION_ISO_SHA512"), "HEX",
            "The ISO's SHA-512"),
    ]
};

/// A value as it was given, not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Of which setting.
    pub setting: Setting,
    /// The value as text; a list's items are separated by commas.
    pub text: String,
    /// Where it was given.
    pub place: super::problem::Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enumeration() {
        for (index, spec) in SETTINGS.iter().enumerate() {
            assert_eq!(spec.setting as usize, index, "{:?}", spec.setting);
        }
    }

    #[test]
    fn the_variable_is_named_after_the_flag() {
        for (flag, variable) in SETTINGS.iter().filter_map(|spec| spec.flag) {
            let name = flag.to_uppercase().replace('-', "_");
            assert_eq!(variable, format!("PROVISION_{name}"));
        }
    }
}
