//! Debian's installer: the preseed that answers it, the scripts it runs, and what its console shows meanwhile.

use anyhow::{Context as _, Result};
use minijinja::{Environment, context};

use super::installer_log::Follower;
use super::{Definition, InstallRecipe, Milestone};
use crate::config::Network;
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::media::seed::SeedFile;

const PRESEED: &str = include_str!("../../provision/debian/preseed.cfg.j2");

/// The scripts that the preseed names, under /provision in the installer.
const SCRIPTS: [(&str, &str); 7] = [
    ("early.sh", include_str!("../../provision/debian/installer/early.sh")),
    ("disk.sh", include_str!("../../provision/debian/installer/disk.sh")),
    ("steps.sh", include_str!("../../provision/debian/installer/steps.sh")),
    ("depmod.sh", include_str!("../../provision/debian/installer/depmod.sh")),
    (
        "bootstrap.sh",
        include_str!("../../provision/debian/installer/bootstrap.sh"),
    ),
    (
        "target-depmod.sh",
        include_str!("../../provision/debian/installer/target-depmod.sh"),
    ),
    ("late.sh", include_str!("../../provision/debian/installer/late.sh")),
];

/// What the installed system consists of beside Debian's base: all of it is on the netinst medium.
const PACKAGES: [&str; 15] = [
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "busybox",
    "locales",
    "grub-pc",
    "grub-efi-amd64-bin",
    "openssh-server",
    "sudo",
    "ca-certificates",
    "dbus",
    "libpam-systemd",
    "systemd-timesyncd",
    // What the installer's own steps would add.
    "pciutils",
    "eject",
];

/// No question above `critical`, the plain text frontend on the serial port (`TERM=dumb` keeps it out of GNU screen),
/// and no translations, whose loading takes most of a minute under emulation.
const ARGUMENTS: &str = "auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb DEBCONF_DROP_TRANSLATIONS=1 \
                         console=ttyS0,115200n8 quiet";

/// The installer's phases as its console names them. Their parts of the whole were measured under emulation.
const MILESTONES: &[Milestone] = &[
    phase("Starting system log daemon", "starting the installer", 0, 2),
    phase(
        "Detecting hardware to find installation media",
        "finding the medium",
        2,
        5,
    ),
    phase("Scanning installation media", "finding the medium", 5, 5),
    phase(
        "Loading additional components",
        "loading the installer's components",
        5,
        9,
    ),
    phase("Detecting disks and all other hardware", "detecting hardware", 9, 10),
    phase("Starting up the partitioner", "partitioning", 10, 11),
    phase("Guided partitioning", "partitioning", 11, 12),
    phase("Partitions formatting", "partitioning", 12, 14),
    phase("Installing the base system", "installing the system's packages", 14, 90),
    phase("Finishing the installation", "initramfs and boot loader", 90, 100),
];

/// What the installer's console is told to a person as.
#[cfg(test)]
pub fn console_texts() -> impl Iterator<Item = &'static str> {
    MILESTONES.iter().map(|milestone| milestone.text)
}

const fn phase(title: &'static str, text: &'static str, from: u8, to: u8) -> Milestone {
    Milestone { title, text, from, to }
}

/// The recipe for `definition`; root can log in with `builder`'s key afterwards.
///
/// # Errors
/// When the mirror's address cannot be taken apart.
pub fn recipe(definition: &Definition, network: &Network, builder: &Identity) -> Result<InstallRecipe> {
    let mut files = vec![file("preseed.cfg", 0o644, preseed(network)?)];
    files.extend(SCRIPTS.map(|(name, text)| file(&format!("provision/{name}"), 0o755, text)));
    files.push(file("provision/authorized_keys", 0o600, builder.public_key()));
    files.push(file(
        "provision/ssh_host_ed25519_key",
        0o600,
        builder.host_private_key(),
    ));
    files.push(file(
        "provision/ssh_host_ed25519_key.pub",
        0o644,
        builder.host_public_key(),
    ));
    Ok(InstallRecipe {
        boot: definition.boot.clone(),
        files,
        arguments: ARGUMENTS.to_owned(),
        milestones: MILESTONES,
        log: Follower::default(),
    })
}

fn file(path: &str, mode: u32, text: impl Into<String>) -> SeedFile {
    let mut text: String = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    SeedFile {
        path: path.to_owned(),
        mode,
        contents: text.into_bytes(),
    }
}

fn preseed(network: &Network) -> Result<String> {
    let mirror = network.debian_mirror.as_deref().map(mirror).transpose()?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
    let text = environment.render_str(
        PRESEED,
        context! {
            locale => "en_US.UTF-8",
            keymap => "us",
            timezone => "UTC",
            packages => PACKAGES,
            mirror => mirror.map(|Mirror { protocol, host, directory }| context! { protocol, host, directory }),
            // Without a password: the installer's logs keep every answer, and it uses no network. The docker stage
            // writes the whole address down.
            http_proxy => network.http_proxy.as_ref().map(ToString::to_string),
        },
    );
    text.context("rendering the preseed")
}

/// A mirror's address in the parts that the installer asks for.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    protocol: String,
    host: String,
    directory: String,
}

fn mirror(url: &str) -> Result<Mirror> {
    let wrong = || {
        Fault::new(Cause::Config, format!("{url} is no Debian mirror"))
            .hint("it looks like http://HOST/debian in `debian_mirror`")
    };
    let (protocol, rest) = url.split_once("://").with_context(wrong)?;
    let (host, directory) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || !["http", "https"].contains(&protocol) {
        return Err(wrong().into());
    }
    Ok(Mirror {
        protocol: protocol.to_owned(),
        host: host.to_owned(),
        directory: format!("/{}", directory.trim_end_matches('/')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Proxy;

    #[test]
    fn a_mirror_is_taken_apart() {
        let parts = mirror("http://mirror.example.org:8080/debian/").unwrap();
        assert_eq!(
            parts,
            Mirror {
                protocol: "http".into(),
                host: "mirror.example.org:8080".into(),
                directory: "/debian".into()
            }
        );
        assert!(mirror("mirror.example.org").is_err());
        assert!(mirror("ftp://mirror.example.org/debian").is_err());
    }

    #[test]
    fn the_preseed_names_a_mirror_only_if_there_is_one() {
        let default = preseed(&Network::default()).unwrap();
        assert!(!default.contains("mirror/country") && !default.contains("{{"));
        assert!(default.contains("base-installer/includes string linux-image-amd64 initramfs-tools"));
        let network = Network {
            debian_mirror: Some("https://mirror.example.org/debian".into()),
            http_proxy: Some(Proxy::new("http://user:hidden@10.0.2.2:3128".into())),
            ..Network::default()
        };
        let text = preseed(&network).unwrap();
        assert!(text.contains("d-i mirror/https/hostname string mirror.example.org\n"));
        assert!(text.contains("d-i mirror/http/proxy string http://10.0.2.2:3128\n"));
        assert!(!text.contains("hidden"));
    }
}
