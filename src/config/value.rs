//! What each kind of value may look like. Pure; an error is the text after "`memory`: ".

use std::net::IpAddr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;

use super::names::nearest;
use super::types::Checksum;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The least memory in MiB with which the installer runs and Docker builds.
const MEMORY_MIN_MIB: u64 = 1024;

/// The most memory in MiB: 16 TiB, more than any host has.
const MEMORY_MAX_MIB: u64 = 16 << 20;

/// The largest disk in GiB: 64 TiB, which the images' formats and ext4 hold.
const DISK_MAX_GIB: u64 = 64 << 10;

/// The least disk in GiB that holds the system, Docker and three small images.
const DISK_MIN_GIB: u64 = 8;

/// The most virtual CPUs of a QEMU `q35` machine without an I/O memory management unit.
const CPUS_MAX: u32 = 255;

/// A size in bytes. A bare letter is binary as in QEMU's own `-m 4G`; `GB` is decimal, `GiB` binary.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is not a size: write 4G or 512M");
    if !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(format!("`{text}` has no unit: write {text}G or {text}M"));
    }
    let bare = text.ends_with(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']);
    let full = if bare { format!("{text}iB") } else { text.to_owned() };
    let size: ByteSize = full.parse().map_err(|_| wrong())?;
    Ok(size.as_u64())
}

/// Memory in MiB, rounded down.
pub fn memory(text: &str) -> Result<u64, String> {
    match bytes(text)? / MIB {
        mib if mib < MEMORY_MIN_MIB => Err(format!("`{text}` is too little: at least 1G")),
        mib if mib > MEMORY_MAX_MIB => Err(format!("`{text}` is too much: at most 16T")),
        mib => Ok(mib),
    }
}

/// A disk size in GiB, rounded down.
pub fn disk(text: &str) -> Result<u64, String> {
    match bytes(text)? / GIB {
        gib if gib < DISK_MIN_GIB => Err(format!("`{text}` is too small: at least 8G")),
        gib if gib > DISK_MAX_GIB => Err(format!("`{text}` is too large: at most 64T")),
        gib => Ok(gib),
    }
}

/// A number of virtual CPUs.
pub fn cpus(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (1..=CPUS_MAX).contains(&number) => Ok(number),
        _ => Err(format!("`{text}` is not a number from 1 to {CPUS_MAX}")),
    }
}

/// A TCP port.
pub fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is not a port: 1 to 65535")),
        Ok(port) => Ok(port),
    }
}

/// A span of time such as `90m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err(format!("`{text}` leaves no time at all: write 90m, 2h or 1h 30m")),
        Err(_) => Err(format!("`{text}` is not a time: write 90m, 2h or 1h 30m")),
    }
}

/// How old something is.
pub fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is not a time: write 30d or 12h"))
}

/// One of an enumeration's names.
pub fn choice<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let values = T::value_variants().iter().filter_map(T::to_possible_value);
        let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        one_of(text, names.iter().map(String::as_str))
    })
}

/// One of `guests`.
pub fn guest(text: &str, guests: &[String]) -> Result<String, String> {
    let known = || guests.iter().map(String::as_str);
    if known().any(|name| name == text) {
        Ok(text.to_owned())
    } else {
        Err(one_of(text, known()))
    }
}

fn one_of<'a>(text: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let names: Vec<&str> = known.clone().collect();
    let guess = nearest(text, known).map_or_else(String::new, |n| format!(" (did you mean `{n}`?)"));
    format!("`{text}` is not one of {}{guess}", names.join(", "))
}

/// Name servers separated by commas.
pub fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| item.parse().map_err(|_| format!("`{item}` is not an IP address")))
        .collect()
}

/// An address without a user name and password, for messages. It may be malformed in any way.
pub fn bare(text: &str) -> String {
    let start = text.find("://").map_or(0, |place| place + 3);
    match text.rfind('@') {
        Some(end) if end >= start => format!("{}{}", &text[..start], &text[end + 1..]),
        Some(end) => text[end + 1..].to_owned(),
        None => text.to_owned(),
    }
}

/// An http or https address that this program opens itself.
pub fn url(text: &str) -> Result<String, String> {
    let wrong = || format!("`{}` is not an http or https address", bare(text));
    // The URL standard drops tabs and line ends silently; here they would end up in files of the guest.
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\`$".contains(c)) {
        let reason = "blanks, quotes, backslashes and dollar signs must be percent-encoded";
        return Err(format!("{}: {reason}", wrong()));
    }
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

/// An http or https address that the guest opens.
pub fn guest_url(text: &str) -> Result<String, String> {
    let text = url(text)?;
    let parsed = reqwest::Url::parse(&text).map_err(|error| error.to_string())?;
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if loopback {
        let text = bare(&text);
        let text = format!("`{text}` is the guest itself when seen from the guest; this host is 10.0.2.2 there");
        return Err(text);
    }
    Ok(text)
}

/// A make target: no flag, no variable, nothing for a shell.
pub fn target(text: &str) -> Result<Option<String>, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/+%@".contains(c);
    if text.is_empty() {
        Ok(None)
    } else if text.starts_with('-') || !text.chars().all(allowed) {
        Err(format!("`{text}` is not a make target"))
    } else {
        Ok(Some(text.to_owned()))
    }
}

/// A SHA-256 in hexadecimal digits.
pub fn sha256(text: &str) -> Result<Checksum, String> {
    digest(text, 64).map(Checksum::Sha256)
}

/// A SHA-512 in hexadecimal digits.
pub fn sha512(text: &str) -> Result<Checksum, String> {
    digest(text, 128).map(Checksum::Sha512)
}

fn digest(text: &str, digits: usize) -> Result<String, String> {
    if let Some(other) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(format!("`{other}` is not a hexadecimal digit"));
    }
    match text.len() {
        length if length == digits => Ok(text.to_ascii_lowercase()),
        length => Err(format!("it has {length} digits instead of {digits}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AcceleratorChoice, DockerSource};

    #[test]
    fn sizes() {
        for (text, mib) in [
            ("4G", 4096),
            ("1g", 1024),
            ("2048M", 2048),
            ("1.5G", 1536),
            ("4GiB", 4096),
            ("4GB", 3814),
        ] {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for (text, reason) in [
            ("512M", "at least 1G"),
            ("4", "no unit"),
            ("", "no unit"),
            ("G", "not a size"),
            ("four G", "not a size"),
            ("-4G", "not a size"),
            ("4X", "not a size"),
        ] {
            let error = memory(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert_eq!(disk("20G"), Ok(20));
        assert_eq!(disk("1T"), Ok(1024));
        assert!(disk("7G").unwrap_err().contains("at least 8G"));
        assert_eq!((memory("16T"), disk("64T")), (Ok(16 << 20), Ok(64 << 10)));
        for (refused, reason) in [(memory("17T"), "at most 16T"), (memory("9999999999T"), "at most 16T")] {
            assert!(refused.unwrap_err().contains(reason));
        }
        for text in ["65T", "9999999999T"] {
            assert!(disk(text).unwrap_err().contains("at most 64T"), "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(port("8443"), Ok(8443));
        for bad in ["0", "65536", "-1", "http", ""] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert_eq!(cpus("2"), Ok(2));
        for bad in ["0", "256", "two", "-2"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5400)));
        for bad in ["90", "0s", "soon", ""] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices() {
        assert_eq!(choice("kvm"), Ok(AcceleratorChoice::Kvm));
        assert_eq!(choice("docker-ce"), Ok(DockerSource::DockerCe));
        assert_eq!(
            choice::<AcceleratorChoice>("kmv").unwrap_err(),
            "`kmv` is not one of auto, kvm, hvf, tcg (did you mean `kvm`?)"
        );
        let guests = ["debian-12".to_owned(), "debian-13".to_owned()];
        assert_eq!(guest("debian-13", &guests), Ok("debian-13".to_owned()));
        assert!(guest("debain-13", &guests).unwrap_err().contains("mean `debian-13`"));
    }

    #[test]
    fn urls() {
        for good in [
            "http://10.0.2.2:5000",
            "https://mirror.test/debian",
            "http://user:pw@proxy.test:3128/",
        ] {
            assert_eq!(guest_url(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "mirror.test",
            "ftp://mirror.test",
            "http://",
            "http://a b/",
            "http://a/\nx",
            "http://a/$(x)",
        ] {
            assert!(guest_url(bad).is_err(), "{bad}");
        }
        for own in ["http://127.0.0.1:3128", "http://localhost:5000", "http://[::1]/"] {
            assert!(guest_url(own).unwrap_err().contains("10.0.2.2"), "{own}");
            assert!(url(own).is_ok());
        }
    }

    #[test]
    fn no_message_shows_a_password() {
        for (text, shown) in [
            ("http://user:p@w!&@proxy:3128/", "http://proxy:3128/"),
            ("user:pw@proxy", "proxy"),
            ("user:pw@http://proxy", "http://proxy"),
            ("http://proxy:3128", "http://proxy:3128"),
        ] {
            assert_eq!(bare(text), shown);
        }
        for wrong in [
            "ftp://user:hidden@proxy",
            "http://user:hid$den@proxy",
            "user:hidden@proxy:3128",
            "http://user:hidden@",
            "http://user:hid/den@proxy",
            "http://user:hidden@127.0.0.1:3128",
        ] {
            let error = guest_url(wrong).unwrap_err();
            assert!(!error.contains("hid") && !error.contains("user"), "{error}");
        }
        assert!(guest_url("http://user:p!w&x@proxy:3128").is_ok());
    }

    #[test]
    fn targets() {
        assert_eq!(target(""), Ok(None));
        assert_eq!(target("all"), Ok(Some("all".to_owned())));
        for bad in ["-k", "A=b", "a b", "a;b", "$(x)"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn checksums() {
        assert_eq!(sha256(&"AB".repeat(32)), Ok(Checksum::Sha256("ab".repeat(32))));
        assert!(
            sha256(&"ab".repeat(31))
                .unwrap_err()
                .contains("62 digits instead of 64")
        );
        assert!(sha512(&"xy".repeat(64)).unwrap_err().contains("`x` is not"));
    }

    #[test]
    fn name_servers() {
        assert_eq!(addresses("1.1.1.1, ::1").unwrap().len(), 2);
        assert_eq!(addresses("").unwrap().len(), 0);
        assert!(addresses("1.1.1.1,one").unwrap_err().contains("`one`"));
    }
}
