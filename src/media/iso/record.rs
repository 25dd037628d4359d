//! Directory records (ECMA-119, 9.1) and what Rock Ridge adds to them: pure parsing.

/// Where bytes are in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first byte's place.
    pub start: u64,
    /// How many there are.
    pub size: u64,
}

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its content is.
    pub extents: Vec<Extent>,
    /// Whether the next record of the directory is about the same file.
    pub goes_on: bool,
    /// The place of its first record in the image, in bytes.
    pub record: u64,
    /// Its plain name.
    plain: Vec<u8>,
    /// Its Rock Ridge name.
    name: Option<Vec<u8>>,
    directory: bool,
    link: bool,
}

/// Where a record's system use field goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct More {
    /// The logical block.
    pub block: u32,
    /// The first byte in it.
    pub offset: u32,
    /// How many bytes.
    pub size: u32,
}

const DIRECTORY: u8 = 1 << 1;
const MULTI_EXTENT: u8 = 1 << 7;

impl Entry {
    /// Whether it has content of its own.
    pub const fn is_file(&self) -> bool {
        !self.directory && !self.link
    }

    /// Whether it holds other entries.
    pub const fn is_directory(&self) -> bool {
        self.directory
    }

    /// Whether it is the directory itself or its parent (ECMA-119, 7.6.2).
    pub fn is_dot(&self) -> bool {
        matches!(self.plain.as_slice(), [0 | 1])
    }

    /// Whether `name` means this entry.
    pub fn is_named(&self, name: &str) -> bool {
        match &self.name {
            Some(own) => own == name.as_bytes(),
            None => self.bare().eq_ignore_ascii_case(name.as_bytes()),
        }
    }

    /// The plain name without its version and the dot of an empty extension: `INITRD.GZ` of `INITRD.GZ;1`.
    fn bare(&self) -> &[u8] {
        let end = self.plain.iter().position(|b| *b == b';').unwrap_or(self.plain.len());
        let name = &self.plain[..end];
        name.strip_suffix(b".").unwrap_or(name)
    }

    /// Takes its plain name as the big-endian UCS-2 that it is in a Joliet directory (Joliet Specification, "Allowed
    /// Character Set").
    pub fn take_joliet_name(&mut self) {
        let units = self
            .plain
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let name = String::from_utf16_lossy(&units.collect::<Vec<_>>());
        let name = name.split(';').next().unwrap_or_default();
        self.name = Some(name.as_bytes().to_vec());
    }

    /// Takes in the next record about the same file.
    pub fn extend(&mut self, next: Self) {
        self.extents.extend(next.extents);
        self.goes_on = next.goes_on;
    }

    /// Takes the name out of a system use area; tells where it goes on.
    pub fn take_system_use(&mut self, area: &[u8]) -> Option<More> {
        let mut more = None;
        for (signature, data) in fields(area) {
            match signature {
                // Flags: 1 goes on in the next field, 2 and 4 are `.` and `..` (RRIP, 4.1.4).
                b"NM" => {
                    let part = data.get(1..).unwrap_or_default();
                    self.name.get_or_insert_default().extend_from_slice(part);
                }
                b"SL" => self.link = true,
                b"CE" => more = continuation(data),
                b"ST" => break,
                _ => {}
            }
        }
        more
    }
}

/// The fields of a system use area: signature and data (SUSP, 4.1).
fn fields(mut area: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(*area.get(2)?);
        let field = area.get(..length).filter(|field| field.len() >= 4)?;
        area = &area[length..];
        Some((&field[..2], &field[4..]))
    })
}

/// SUSP, 5.1.
fn continuation(data: &[u8]) -> Option<More> {
    Some(More {
        block: u32_at(data, 0)?,
        offset: u32_at(data, 8)?,
        size: u32_at(data, 16)?,
    })
}

/// How many bytes of each system use field are to be skipped, if the root's own says that SUSP is in use.
pub fn susp_skip(area: &[u8]) -> Option<usize> {
    // On CD-ROM XA images 14 bytes stand before it.
    [0, 14].into_iter().find_map(|start| {
        let (signature, data) = fields(area.get(start..)?).next()?;
        match data {
            [0xBE, 0xEF, skip, ..] if signature == b"SP" => Some(usize::from(*skip)),
            _ => None,
        }
    })
}

/// The records of a directory with their places in it. None crosses a sector's end; zeros fill what is left (ECMA-119,
/// 6.8.1.1).
pub fn split(bytes: &[u8], sector: u64) -> impl Iterator<Item = (usize, &[u8])> {
    let sector = usize::try_from(sector).unwrap_or(usize::MAX);
    let starts = (0..).step_by(sector);
    starts.zip(bytes.chunks(sector)).flat_map(|(start, mut rest)| {
        let end = start + rest.len();
        std::iter::from_fn(move || {
            let length = usize::from(*rest.first()?);
            if length == 0 {
                return None;
            }
            let place = end - rest.len();
            // One that is too long is given as it is, for `parse` to refuse.
            let (record, next) = rest.split_at(length.min(rest.len()));
            rest = next;
            Some((place, record))
        })
    })
}

/// A record's entry, or `None` when it is damaged or laid out as no Debian image is (interleaved).
pub fn parse(record: &[u8], block: u64) -> Option<Entry> {
    let length = usize::from(*record.first()?);
    let flags = *record.get(25)?;
    let interleaved = record.get(26..28)? != [0, 0];
    let name_end = 33 + usize::from(*record.get(32)?);
    let plain = record.get(33..name_end)?.to_vec();
    if record.len() != length || interleaved || plain.is_empty() {
        return None;
    }
    // An extended attribute record, if any, stands before the content.
    let first = u64::from(u32_at(record, 2)?) + u64::from(record[1]);
    let extent = Extent {
        start: first.checked_mul(block)?,
        size: u64::from(u32_at(record, 10)?),
    };
    Some(Entry {
        extents: vec![extent],
        goes_on: flags & MULTI_EXTENT != 0,
        record: 0,
        plain,
        name: None,
        directory: flags & DIRECTORY != 0,
        link: false,
    })
}

/// What stands behind a record's plain name, which is padded to an even place (ECMA-119, 9.1.12).
pub fn system_use(record: &[u8]) -> &[u8] {
    let Some(name) = record.get(32) else {
        return &[];
    };
    let start = (33 + usize::from(*name)).next_multiple_of(2);
    record.get(start..).unwrap_or_default()
}

/// The little-endian number at `at`; where the standard writes a number both ways, that half comes first.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
