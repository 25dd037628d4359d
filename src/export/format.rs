//! The formats of images.

use serde::Serialize;

use crate::machine::qemu::convert::{self, ImageFormat, Part};

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// QEMU and what is built on it; compressed with zstd
    Qcow2,
    /// the disk's bytes, with holes: for dd and clouds
    Raw,
    /// VirtualBox, the disk alone
    Vdi,
    /// VMware, the disk alone
    Vmdk,
    /// Hyper-V, the disk alone
    Vhdx,
    /// VirtualBox: a machine with its hardware and forwarded ports
    Ova,
    /// KubeVirt: an OCI image, as a folder or, if FILE ends in .tar, as one file
    Containerdisk,
}

impl Format {
    /// How it is typed and told.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vdi => "vdi",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Ova => "ova",
            Self::Containerdisk => "containerdisk",
        }
    }

    /// The file's name for something called `name`.
    pub fn file_name(self, name: &str) -> String {
        match self {
            Self::Raw => format!("{name}.img"),
            Self::Containerdisk => format!("{name}-containerdisk"),
            _ => format!("{name}.{}", self.title()),
        }
    }

    /// The image of the disk that is it, or that is in it.
    pub const fn image(self) -> ImageFormat {
        match self {
            Self::Qcow2 | Self::Containerdisk => ImageFormat::Qcow2,
            Self::Raw => ImageFormat::Raw,
            Self::Vdi => ImageFormat::Vdi,
            Self::Vmdk => ImageFormat::Vmdk,
            Self::Vhdx => ImageFormat::Vhdx,
            Self::Ova => ImageFormat::StreamVmdk,
        }
    }

    /// How many bytes writing the image of a disk of these parts takes at most. What is compressed may not shrink.
    pub fn room(self, parts: &[Part]) -> u64 {
        convert::in_blocks(parts, self.image().unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        for (format, expected) in [
            (Format::Qcow2, "jdoe.qcow2"),
            (Format::Raw, "jdoe.img"),
            (Format::Vdi, "jdoe.vdi"),
            (Format::Vmdk, "jdoe.vmdk"),
            (Format::Vhdx, "jdoe.vhdx"),
            (Format::Ova, "jdoe.ova"),
            (Format::Containerdisk, "jdoe-containerdisk"),
        ] {
            assert_eq!(format.file_name("jdoe"), expected);
        }
    }

    #[test]
    fn coarse_formats_need_more_room() {
        let byte = |start| Part {
            start,
            length: 1,
            data: true,
        };
        let parts = [byte(0), byte(500_000), byte(5_000_000)];
        assert_eq!(Format::Raw.room(&parts), 3 * 4096);
        assert_eq!(Format::Qcow2.room(&parts), 3 * 65536);
        assert_eq!(Format::Vdi.room(&parts), 2 << 20);
    }
}
