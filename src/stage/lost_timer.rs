//! A guest that hangs because one of its processors has lost its timer: under emulation on a busy host an interrupt of the
//! local APIC's timer may be lost while Linux boots, and nothing on that processor is ever woken again. The kernel says so on
//! its console every 21 seconds, so such a guest does not stand still by any other measure.

use crate::fault::{Cause, Fault};

/// What the kernel says then (Linux, `rcu_check_gp_kthread_expired_fqs_timer` in `kernel/rcu/tree_stall.h`).
const MARK: &str = "kthread timer wakeup didn't happen";

/// The guest hangs for want of a timer.
#[derive(Debug, thiserror::Error)]
#[error("the guest's kernel says that a {MARK}")]
pub struct LostTimer;

/// An error if the end of a console says that a timer is lost.
///
/// # Errors
/// A [`Cause::Guest`] fault, of which [`is_cause`] holds.
pub fn look(console: &str) -> anyhow::Result<()> {
    if !console.contains(MARK) {
        return Ok(());
    }
    let fault = Fault::new(
        Cause::Guest,
        "the guest hangs: one of its processors has lost its timer",
    );
    Err(anyhow::Error::new(LostTimer)
        .context(fault.hint("the same command tries again; with `--cpus 1` there is no second processor to lose one")))
}

/// Whether that is why something failed.
pub fn is_cause(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LostTimer>().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the console of a Debian 13 guest, emulated by QEMU 10.0.2 beside another on two busy processors.
    const CONSOLE: &str = "\
[   22.873224] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   22.886063] rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g-1131 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x402
[   22.894267] rcu: 	Possible timer handling issue on cpu=1 timer-softirq=4
[   22.894400] rcu: rcu_preempt kthread starved for 5252 jiffies! g-1131 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x402 ->cpu=1
";

    #[test]
    fn a_lost_timer_is_told_from_a_busy_host() {
        let error = look(CONSOLE).unwrap_err().context("booting");
        assert!(is_cause(&error));
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Guest);
        assert!(fault.hint.as_deref().unwrap().contains("--cpus 1"));
        // A processor that only had to wait says the first line alone.
        let (first, _) = CONSOLE.split_once('\n').unwrap();
        look(first).unwrap();
        assert!(!is_cause(&anyhow::anyhow!("another")));
    }
}
