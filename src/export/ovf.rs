//! The descriptor of an OVA: OVF 2.0 (DMTF DSP0243) with VirtualBox's own extension, which holds what OVF has no words
//! for: forwarded ports and the kind of network card.

use std::fmt::Write as _;

/// The OVF's number for "Debian 64-Bit" (CIM `CIM_OperatingSystem.OsType`).
const DEBIAN_64: u32 = 96;

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
pub fn descriptor(appliance: &Appliance<'_>, package: &Package<'_>) -> String {
    let Package {
        disk, bytes, disk_uuid, ..
    } = package;
    let Appliance { disk_bytes, .. } = appliance;
    let name = escaped(appliance.name);
    let product = product(appliance);
    let hardware = hardware(appliance);
    let machine = machine(appliance, package);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope ovf:version="2.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/2" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/2" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:vbox="http://www.virtualbox.org/ovf/machine" xmlns:epasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData.xsd" xmlns:sasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData.xsd">
  <References>
    <File ovf:id="file1" ovf:href="{disk}" ovf:size="{bytes}"/>
  </References>
  <DiskSection>
    <Info>The virtual disks</Info>
    <Disk ovf:capacity="{disk_bytes}" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" vbox:uuid="{disk_uuid}"/>
  </DiskSection>
  <NetworkSection>
    <Info>The logical networks</Info>
    <Network ovf:name="NAT">
      <Description>The host's network by address translation</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
{product}    <OperatingSystemSection ovf:id="{DEBIAN_64}">
      <Info>The guest's operating system</Info>
      <Description>Debian_64</Description>
      <vbox:OSType ovf:required="false">Debian_64</vbox:OSType>
    </OperatingSystemSection>
{hardware}{machine}  </VirtualSystem>
</Envelope>
"#
    )
}

/// What the image is, and whose: read again by `provision import`.
fn product(appliance: &Appliance<'_>) -> String {
    let mut text = String::from("    <ProductSection>\n      <Info>What it is</Info>\n");
    if let Some(login) = appliance.login {
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "      <Property ovf:key=\"login\" ovf:type=\"string\" ovf:value=\"{}\"/>",
            escaped(login)
        );
    }
    text + "    </ProductSection>\n"
}

/// The hardware in OVF's words; the numbers of resource types are CIM's (DSP0243, annex on hardware).
fn hardware(appliance: &Appliance<'_>) -> String {
    let Appliance {
        cpus, memory_mib, name, ..
    } = appliance;
    let name = escaped(name);
    format!(
        r"    <VirtualHardwareSection>
      <Info>The virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:Caption>{cpus} virtual CPUs</rasd:Caption>
        <rasd:Description>Number of virtual CPUs</rasd:Description>
        <rasd:ElementName>{cpus} virtual CPUs</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits>
        <rasd:Caption>{memory_mib} MB of memory</rasd:Caption>
        <rasd:Description>Memory Size</rasd:Description>
        <rasd:ElementName>{memory_mib} MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{memory_mib}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Caption>sataController0</rasd:Caption>
        <rasd:Description>SATA Controller</rasd:Description>
        <rasd:ElementName>sataController0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType>
        <rasd:ResourceType>20</rasd:ResourceType>
      </Item>
      <StorageItem>
        <sasd:AddressOnParent>0</sasd:AddressOnParent>
        <sasd:Caption>disk1</sasd:Caption>
        <sasd:Description>Disk Image</sasd:Description>
        <sasd:ElementName>disk1</sasd:ElementName>
        <sasd:HostResource>ovf:/disk/vmdisk1</sasd:HostResource>
        <sasd:InstanceID>4</sasd:InstanceID>
        <sasd:Parent>3</sasd:Parent>
        <sasd:ResourceType>17</sasd:ResourceType>
      </StorageItem>
      <EthernetPortItem>
        <epasd:AutomaticAllocation>true</epasd:AutomaticAllocation>
        <epasd:Caption>Ethernet adapter on 'NAT'</epasd:Caption>
        <epasd:Connection>NAT</epasd:Connection>
        <epasd:ElementName>Ethernet adapter on 'NAT'</epasd:ElementName>
        <epasd:InstanceID>5</epasd:InstanceID>
        <epasd:ResourceType>10</epasd:ResourceType>
      </EthernetPortItem>
    </VirtualHardwareSection>
"
    )
}

/// The machine in VirtualBox's own words, as VBoxManage 7.2 exports one; other programs skip it.
fn machine(appliance: &Appliance<'_>, package: &Package<'_>) -> String {
    let Appliance {
        cpus,
        memory_mib,
        https_port,
        ssh_port,
        ..
    } = appliance;
    let Package {
        disk_uuid,
        machine_uuid,
        time,
        ..
    } = package;
    let name = escaped(appliance.name);
    format!(
        r#"    <vbox:Machine ovf:required="false" version="1.19-linux" uuid="{{{machine_uuid}}}" name="{name}" OSType="Debian_64" snapshotFolder="Snapshots" lastStateChange="{time}">
      <ovf:Info>The machine in VirtualBox's format</ovf:Info>
      <Hardware>
        <Memory RAMSize="{memory_mib}"/>
        <Boot>
          <Order position="1" device="HardDisk"/>
          <Order position="2" device="None"/>
          <Order position="3" device="None"/>
          <Order position="4" device="None"/>
        </Boot>
        <Display controller="VMSVGA" VRAMSize="16"/>
        <Firmware/>
        <BIOS>
          <IOAPIC enabled="true"/>
          <SmbiosUuidLittleEndian enabled="true"/>
          <AutoSerialNumGen enabled="true"/>
        </BIOS>
        <Network>
          <Adapter slot="0" enabled="true" type="virtio">
            <NAT>
              <Forwarding name="https" proto="1" hostip="127.0.0.1" hostport="{https_port}" guestport="443"/>
              <Forwarding name="ssh" proto="1" hostip="127.0.0.1" hostport="{ssh_port}" guestport="22"/>
            </NAT>
          </Adapter>
        </Network>
        <AudioAdapter useDefault="true" driver="Null" enabled="false"/>
        <Clipboard/>
        <StorageControllers>
          <StorageController name="SATA" type="AHCI" PortCount="1" useHostIOCache="false" Bootable="true" IDE0MasterEmulationPort="0" IDE0SlaveEmulationPort="1" IDE1MasterEmulationPort="2" IDE1SlaveEmulationPort="3">
            <AttachedDevice type="HardDisk" hotpluggable="false" port="0" device="0">
              <Image uuid="{{{disk_uuid}}}"/>
            </AttachedDevice>
          </StorageController>
        </StorageControllers>
        <RTC localOrUTC="UTC"/>
        <CPU count="{cpus}">
          <HardwareVirtExLargePages enabled="false"/>
          <PAE enabled="false"/>
          <LongMode enabled="true"/>
          <X2APIC enabled="true"/>
        </CPU>
      </Hardware>
    </vbox:Machine>
"#
    )
}

/// `text` for an attribute or the text of an element.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A machine's descriptor, for tests.
#[cfg(test)]
pub fn example() -> String {
    let appliance = Appliance {
        name: "jdoe",
        login: Some("jdoe"),
        cpus: 2,
        memory_mib: 4096,
        disk_bytes: 20 << 30,
        https_port: 8443,
        ssh_port: 2222,
    };
    let package = Package {
        disk: "jdoe-disk001.vmdk",
        bytes: 700_000_000,
        disk_uuid: "3ef3a067-45ef-4d4c-9b6c-f73e48fb49a1",
        machine_uuid: "e0a0bf03-5dce-43e0-b14e-c75236b5f2e7",
        time: "2026-01-31T12:00:00Z",
    };
    descriptor(&appliance, &package)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(escaped(r#"a<b>&"c""#), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
