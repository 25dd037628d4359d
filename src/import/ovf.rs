//! Reading the descriptor of an OVA, whoever wrote it (DMTF DSP0243, versions 1 and 2).

use anyhow::{Context as _, Result, bail};
use roxmltree::{Document, Node};

use crate::config::Login;
use crate::fault::{Cause, Fault};

/// What is taken from a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The file of the machine's only disk.
    pub disk: String,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// The guest's user, if `provision export` wrote it.
    pub login: Option<Login>,
}

/// CIM's numbers of resource types.
const PROCESSOR: &str = "3";
const MEMORY: &str = "4";

/// Reads a descriptor.
///
/// # Errors
/// A [`Cause::Verification`] fault when it is damaged, or describes what is not imported.
pub fn read(text: &str) -> Result<Described> {
    // Without a document type, so there are no entities that could grow or name files.
    let document = Document::parse(text).map_err(|error| refused(&format!("its descriptor is damaged: {error}")))?;
    let named = |name: &'static str| {
        document
            .descendants()
            .filter(move |node| node.tag_name().name() == name)
    };
    if named("VirtualSystem").count() > 1 {
        bail!(refused("it holds several machines"));
    }
    let disks: Vec<_> = named("Disk")
        .filter(|disk| attribute(*disk, "fileRef").is_some())
        .collect();
    let [disk] = disks[..] else {
        bail!(refused(&format!("it holds {} disks, and one is wanted", disks.len())));
    };
    let format = attribute(disk, "format").unwrap_or_default();
    if !format.to_ascii_lowercase().contains("vmdk") {
        bail!(refused(&format!("its disk is no VMDK but of the format {format}")));
    }
    let reference = attribute(disk, "fileRef");
    let file = named("File")
        .find(|file| attribute(*file, "id") == reference)
        .with_context(|| refused("its descriptor names no file for the disk"))?;
    if attribute(file, "compression").is_some_and(|how| !how.is_empty() && how != "identity")
        || attribute(file, "chunkSize").is_some()
    {
        bail!(refused("its disk is compressed or cut into pieces"));
    }
    let disk = attribute(file, "href").context(refused("its descriptor names no file for the disk"))?;
    let item = |kind: &str| {
        let mut items = named("Item").filter(|item| child(*item, "ResourceType") == Some(kind));
        items.next()
    };
    let quantity = |item: Node<'_, '_>| child(item, "VirtualQuantity")?.parse::<u64>().ok();
    let login = named("Property").find(|property| attribute(*property, "key") == Some("login"));
    let login = login.and_then(|property| attribute(property, "value"));
    Ok(Described {
        disk: disk.to_owned(),
        cpus: item(PROCESSOR).and_then(quantity).and_then(|cpus| cpus.try_into().ok()),
        memory_mib: item(MEMORY).and_then(|item| mib(quantity(item)?, child(item, "AllocationUnits"))),
        login: login.and_then(|login| Login::try_from(login.to_owned()).ok()),
    })
}

fn refused(reason: &str) -> Fault {
    Fault::new(Cause::Verification, format!("the OVA is not imported: {reason}"))
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut attributes = node.attributes();
    attributes
        .find(|attribute| attribute.name() == name)
        .map(|found| found.value())
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children()
        .find(|child| child.tag_name().name() == name)?
        .text()
        .map(str::trim)
}

/// An amount of memory in MiB. Units are words in OVF 1.0 (`MegaBytes`) and powers later (`byte * 2^20`).
fn mib(quantity: u64, units: Option<&str>) -> Option<u64> {
    let units = units.unwrap_or("byte").to_ascii_lowercase().replace(' ', "");
    let shift = match units.as_str() {
        "byte" | "bytes" => 0,
        "kilobytes" | "byte*2^10" => 10,
        "megabytes" | "byte*2^20" => 20,
        "gigabytes" | "byte*2^30" => 30,
        _ => return None,
    };
    Some(quantity.checked_shl(shift)? >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> String {
        crate::export::example_descriptor()
    }

    #[test]
    fn what_export_writes_is_read() {
        let described = read(&ours()).unwrap();
        let expected = Described {
            disk: "jdoe-disk001.vmdk".into(),
            cpus: Some(2),
            memory_mib: Some(4096),
            login: Some(Login::try_from("jdoe".to_owned()).unwrap()),
        };
        assert_eq!(described, expected);
    }

    #[test]
    fn what_is_not_imported_is_told() {
        for (from, to, reason) in [
            ("<Envelope", "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope", "damaged"),
            ("</Envelope>", "", "damaged"),
            ("vmdk.html#streamOptimized", "iso", "no VMDK"),
            ("ovf:id=\"file1\"", "ovf:id=\"file2\"", "no file"),
            ("ovf:size=", "ovf:compression=\"gzip\" ovf:size=", "compressed"),
            ("<Disk ", "<Disk ovf:fileRef=\"file1\"/><Disk ", "2 disks"),
        ] {
            let text = ours().replace(from, to).replace("specifications/iso", "iso");
            let error = read(&text).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{reason}: {error:#}");
        }
    }

    #[test]
    fn memory_in_every_unit() {
        for (quantity, units, expected) in [
            (4096, Some("MegaBytes"), Some(4096)),
            (4, Some("byte * 2^30"), Some(4096)),
            (2, Some("GigaBytes"), Some(2048)),
            (1 << 30, None, Some(1024)),
            (1, Some("furlongs"), None),
        ] {
            assert_eq!(mib(quantity, units), expected, "{units:?}");
        }
    }
}
