//! The exit codes as the help tells them.

use crate::fault::Cause;

/// What a code means, in a line.
const fn meaning(cause: Cause) -> &'static str {
    match cause {
        Cause::Other => "anything without a code of its own",
        Cause::Usage => "wrong arguments, no such machine, or not in a state for the command",
        Cause::Config => "the configuration or the project folder is wrong",
        Cause::HostMissing => "this host lacks a program or accelerator, or it is too old",
        Cause::Verification => "a checksum or signature is missing or wrong",
        Cause::Network => "a server cannot be reached or answers wrongly",
        Cause::Guest => "the installer or the guest failed or asked a question",
        Cause::Timeout => "nothing moved for too long",
        Cause::Make => "make failed in the guest",
        Cause::Verify => "the machine runs, but a check failed",
        Cause::Busy => "another process works on the machine, or a port is taken",
        Cause::Space => "the disk is too full",
        Cause::Machine => "QEMU or VirtualBox failed",
        Cause::Deadline => "the time that --timeout gives was over",
        Cause::Interrupted => "interrupted by Ctrl-C or SIGTERM",
    }
}

/// The table of the help.
pub fn help() -> String {
    let line = |cause: Cause| format!("  {:>3}  {}", cause.exit_code(), meaning(cause));
    let lines = Cause::ALL.map(line).join("\n");
    format!(
        "Exit codes:\n    0  done\n{lines}\n\n\
         `provision exec` and `provision ssh` exit with the code of the command in the guest.\n\n\
         PROVISION_CACHE_DIR and PROVISION_DATA_DIR name other folders for the cache and the machines."
    )
}
