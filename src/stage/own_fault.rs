//! QEMU that has ended itself: it found its own state to be what it cannot be. Under emulation on a busy host that happens
//! to sound guests, once in hundreds of boots (QEMU 10.0.2, two processors: ``hw/pci/msix.c:228: msix_table_mmio_write:
//! Assertion `addr + size <= …' failed``). Nothing is wrong with the guest or the host, and another start goes well.

use crate::fault::{Cause, Fault};

/// How glibc's `assert(3)` and `GLib`'s `g_assert` begin what they say last.
const MARKS: [&str; 2] = [": Assertion `", "ERROR:../"];

/// Whether that is why something failed.
pub fn is_cause(error: &anyhow::Error) -> bool {
    let fault = Fault::of(error).filter(|fault| fault.cause == Cause::Machine);
    fault.is_some_and(|fault| MARKS.iter().any(|mark| fault.message.contains(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_told_from_what_others_did_wrong() {
        let fails = |cause, said: &str| is_cause(&anyhow::Error::new(Fault::new(cause, said)).context("booting"));
        let said = "QEMU ended with an error: qemu-system-x86_64: hw/pci/msix.c:228: msix_table_mmio_write: Assertion \
                    `addr + size <= dev->msix_entries_nr * PCI_MSIX_ENTRY_SIZE' failed.";
        assert!(fails(Cause::Machine, said));
        assert!(fails(
            Cause::Machine,
            "QEMU ended with an error: ERROR:../system/cpus.c:504:qemu_mutex_lock_iothread_impl"
        ));
        assert!(!fails(Cause::Make, said));
        assert!(!fails(
            Cause::Machine,
            "QEMU ended with an error: could not set up host forwarding rule"
        ));
        assert!(!is_cause(&anyhow::anyhow!("another")));
    }
}
