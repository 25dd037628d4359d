//! Whether a folder holds a project, and whether what goes with it exists.

use std::path::Path;

/// The names under which make looks for a makefile (GNU make's manual, "What Name to Give Your Makefile").
pub const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// What keeps `dir` from being deployed, if anything does.
pub fn lacks(dir: &Path) -> Option<String> {
    let shown = dir.display();
    if !dir.is_dir() {
        return Some(super::problem::missing("folder", dir));
    }
    if let Err(error) = std::fs::read_dir(dir) {
        return Some(format!("{shown} cannot be read: {error}"));
    }
    let makefile = MAKEFILES.iter().any(|name| dir.join(name).is_file());
    let srcs = dir.join("srcs").is_dir();
    let lacks = match (makefile, srcs) {
        (true, true) => return None,
        (false, true) => "Makefile",
        (true, false) => "folder srcs/",
        (false, false) => "Makefile and no folder srcs/",
    };
    Some(format!("{shown} holds no {lacks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_a_makefile_and_srcs() {
        let dir = tempfile::tempdir().unwrap();
        let lack = |dir: &Path| lacks(dir).unwrap_or_default();
        assert!(lack(dir.path()).ends_with("holds no Makefile and no folder srcs/"));
        std::fs::create_dir(dir.path().join("srcs")).unwrap();
        assert!(lack(dir.path()).ends_with("holds no Makefile"));
        std::fs::write(dir.path().join("GNUmakefile"), "all:\n").unwrap();
        assert_eq!(lacks(dir.path()), None);
        std::fs::remove_dir(dir.path().join("srcs")).unwrap();
        assert!(lack(dir.path()).ends_with("holds no folder srcs/"));
        assert!(lack(&dir.path().join("nowhere")).contains("there is no folder"));
    }
}
