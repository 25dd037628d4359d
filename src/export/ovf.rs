//! The descriptor of an OVA: OVF 2.0 (DMTF DSP0243) with VirtualBox's own extension, which holds what OVF has no words
//! for: forwarded ports and the kind of network card.

use anyhow::{Context as _, Result};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

/// With CIM's numbers: 96 is Debian with 64 bits (`CIM_OperatingSystem.OsType`); 3, 4, 10, 17 and 20 are processors, memory,
/// a network card, a disk and a SATA controller (`CIM_ResourceAllocationSettingData.ResourceType`). VirtualBox's part is as
/// VBoxManage 7.2 exports one; other programs skip it.
const TEMPLATE: &str = include_str!("appliance.ovf.j2");

/// A machine to be described.
#[derive(Debug, Clone, Copy)]
pub struct Appliance<'a> {
    /// Its name.
    pub name: &'a str,
    /// The guest's user, for who imports it.
    pub login: Option<&'a str>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The disk's size in bytes.
    pub disk_bytes: u64,
    /// The port on the host's 127.0.0.1 that leads to the guest's 443.
    pub https_port: u16,
    /// The port on the host's 127.0.0.1 that leads to the guest's 22.
    pub ssh_port: u16,
}

/// The files of the archive that the descriptor names.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    /// The disk's file.
    pub disk: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// The disk's UUID, which both parts of the descriptor name.
    pub disk_uuid: &'a str,
    /// The machine's UUID.
    pub machine_uuid: &'a str,
    /// When it was written, in UTC: `2026-01-31T12:00:00Z`.
    pub time: &'a str,
}

/// The descriptor.
///
/// # Errors
/// When the template is wrong.
pub fn descriptor(appliance: &Appliance<'_>, package: &Package<'_>) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // XML's five letters are HTML's.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let braced = |uuid: &str| format!("{{{uuid}}}");
    let text = environment.render_str(
        TEMPLATE,
        context! {
            name => appliance.name,
            login => appliance.login,
            cpus => appliance.cpus,
            memory_mib => appliance.memory_mib,
            disk_bytes => appliance.disk_bytes,
            https_port => appliance.https_port,
            ssh_port => appliance.ssh_port,
            disk => package.disk,
            bytes => package.bytes,
            disk_uuid => package.disk_uuid,
            disk_braced => braced(package.disk_uuid),
            machine_braced => braced(package.machine_uuid),
            time => package.time,
        },
    );
    text.context("rendering the OVF")
}

/// A machine's descriptor, for tests.
#[cfg(test)]
pub fn example() -> String {
    descriptor(&tests::EXAMPLE, &tests::PACKAGE).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const EXAMPLE: Appliance<'_> = Appliance {
        name: "jdoe",
        login: Some("jdoe"),
        cpus: 2,
        memory_mib: 4096,
        disk_bytes: 20 << 30,
        https_port: 8443,
        ssh_port: 2222,
    };

    pub const PACKAGE: Package<'_> = Package {
        disk: "jdoe-disk001.vmdk",
        bytes: 700_000_000,
        disk_uuid: "3ef3a067-45ef-4d4c-9b6c-f73e48fb49a1",
        machine_uuid: "e0a0bf03-5dce-43e0-b14e-c75236b5f2e7",
        time: "2026-01-31T12:00:00Z",
    };

    #[test]
    fn the_whole_descriptor() {
        insta::assert_snapshot!(example());
    }

    #[test]
    fn it_is_sound_xml_whose_references_agree() {
        let text = example();
        let document = roxmltree::Document::parse(&text).unwrap();
        let find = |name: &str| {
            let mut found = document.descendants().filter(|node| node.tag_name().name() == name);
            found.next().unwrap()
        };
        let value = |node: roxmltree::Node<'_, '_>, name: &str| {
            let mut attributes = node.attributes();
            attributes
                .find(|found| found.name() == name)
                .unwrap()
                .value()
                .to_owned()
        };
        assert_eq!(value(find("File"), "id"), value(find("Disk"), "fileRef"));
        assert_eq!(
            value(find("Image"), "uuid"),
            format!("{{{}}}", value(find("Disk"), "uuid"))
        );
        assert_eq!(find("HostResource").text(), Some("ovf:/disk/vmdisk1"));
        let ports: Vec<_> = document
            .descendants()
            .filter(|node| node.tag_name().name() == "Forwarding")
            .map(|node| (value(node, "hostip"), value(node, "hostport"), value(node, "guestport")))
            .collect();
        let local = |host: &str, guest: &str| ("127.0.0.1".to_owned(), host.to_owned(), guest.to_owned());
        assert_eq!(ports, [local("8443", "443"), local("2222", "22")]);
    }

    #[test]
    fn names_cannot_break_out() {
        let appliance = Appliance {
            name: r#"a<b>&"c""#,
            login: None,
            ..EXAMPLE
        };
        let text = descriptor(&appliance, &PACKAGE).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let system = document
            .descendants()
            .find(|node| node.tag_name().name() == "VirtualSystemIdentifier");
        assert_eq!(system.unwrap().text(), Some(appliance.name));
        assert!(!text.contains("Property"));
    }
}
