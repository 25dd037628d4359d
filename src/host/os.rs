//! Which distribution the host runs.

/// What `/etc/os-release` says (os-release(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Os {
    /// `ID`: `debian`, `ubuntu`.
    pub id: String,
    /// `VERSION_CODENAME`: `bookworm`; empty where there is none.
    pub codename: String,
}

impl Os {
    /// Reads the text of an os-release file.
    pub fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        Self {
            id: value("ID"),
            codename: value("VERSION_CODENAME"),
        }
    }

    /// The host's own.
    pub fn of_host() -> Self {
        let files = ["/etc/os-release", "/usr/lib/os-release"];
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok());
        Self::parse(&text.unwrap_or_default())
    }

    /// Whether QEMU must come from backports: Debian 12 has 7.2, which is too old.
    pub fn needs_backports(&self) -> bool {
        self.id == "debian" && self.codename == "bookworm"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_files() {
        let debian =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        let fedora = "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_CODENAME=\"\"\n";
        for (text, id, codename, backports) in [
            (debian, "debian", "bookworm", true),
            (ubuntu, "ubuntu", "noble", false),
            (fedora, "fedora", "", false),
            ("", "", "", false),
        ] {
            let os = Os::parse(text);
            assert_eq!((os.id.as_str(), os.codename.as_str()), (id, codename));
            assert_eq!(os.needs_backports(), backports, "{text}");
        }
    }
}
