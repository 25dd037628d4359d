//! The projects that the tests deploy.

use std::path::{Path, PathBuf};

/// The login of the machines of the reference project.
pub const LOGIN: &str = "tlogin";

/// A project, and the login that it is deployed for.
#[derive(Clone, Copy)]
pub struct Project {
    /// Its folder in this repository.
    folder: &'static str,
    /// The login, which names its machine.
    pub login: &'static str,
    /// What only its page contains.
    pub mark: &'static str,
}

/// The repository's own, with three services.
pub const REFERENCE: Project = Project {
    folder: "",
    login: LOGIN,
    mark: "wp-content",
};

/// One small service, for steps that are about machines and not about what runs in them.
pub const SMALL: Project = Project {
    folder: "tests/fixtures/small",
    login: "cut-off",
    mark: "a volume of the small project",
};

impl Project {
    /// Its folder.
    pub fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder)
    }
}
