//! Programs that tests make, those of the whole program (`tests/`) too.

use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program that can be run at once, by a process of its own: while a thread of ours writes to a file another may
/// start a process, which holds the file too until it is a program of its own, and so long nobody can run it (execve(2),
/// `ETXTBSY`).
pub fn write_program(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut write = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(write.wait().unwrap().success());
}
