//! A process's environment is read once, so what depends on it is tried in a process of its own: this test program
//! again, running [`child`] only.

use std::process::Command;

use crate::cancel::Cancel;
use crate::media::http::{Http, Patience};

const ASK: &str = "PROVISION_TEST_ASK";

#[test]
#[ignore = "the other tests run it, in processes of their own"]
fn child() {
    let patience = Patience {
        tries: 1,
        ..Patience::default()
    };
    let http = Http::new(patience, &Cancel::default()).unwrap();
    assert_eq!(http.text(&std::env::var(ASK).unwrap(), 100).unwrap(), "hello");
}

/// What fetching `url`, which should hold "hello", prints with `environment`; an error if it fails.
pub fn fetch(url: &str, environment: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "media::tests::processes::child", "--ignored"])
        .env(ASK, url);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("running 1 test"), "{text}");
    if output.status.success() { Ok(text) } else { Err(text) }
}
