//! Points between two steps at which a test kills this very process, to look at what SIGKILL leaves there.

/// Passes a point.
#[cfg(not(test))]
pub const fn pass() {}

#[cfg(test)]
pub use testing::pass;

#[cfg(test)]
pub mod testing {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// At which point, counted from 1, the process is killed.
    const AT: &str = "PROVISION_TEST_KILLED_AT";

    /// What the test that runs as a process of its own is given.
    const GIVEN: &str = "PROVISION_TEST_GIVEN";

    static PASSED: AtomicUsize = AtomicUsize::new(0);

    /// Passes a point, unless this is the one to be killed at.
    pub fn pass() {
        let at = std::env::var(AT).ok().and_then(|at| at.parse().ok());
        if at == Some(PASSED.fetch_add(1, Ordering::SeqCst) + 1) {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
        }
    }

    /// What this process is given, if it was started by [`run_killed`].
    pub fn given() -> Option<String> {
        std::env::var(GIVEN).ok()
    }

    /// Runs the ignored test `name` of this program as a process of its own, which is killed at its point `at`. Gives
    /// `false` once it has no so many points and ended well.
    pub fn run_killed(name: &str, given: &str, at: usize) -> bool {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(AT, at.to_string())
            .env(GIVEN, given)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_killed = output.status.signal() == Some(9);
        assert!(is_killed || output.status.success(), "{said}");
        let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
        assert!(is_killed || ran, "there is no ignored test {name}");
        is_killed
    }
}
