//! Programs that tests make, those of the whole program (`tests/`) too.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// Does `job` while another thread starts one program after the other.
#[allow(dead_code, reason = "not all who share this file need it")]
pub fn while_others_start_programs<T>(job: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        // Also where the job fails: the thread is waited for.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|failure| std::panic::resume_unwind(failure))
    })
}

/// A port on 127.0.0.1 on which nobody listens. A process that another thread of ours starts has our listener too until it
/// is a program of its own: so long somebody does.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(60), "port {port} stays taken");
    }
    port
}
