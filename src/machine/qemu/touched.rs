//! How much of its memory a guest has ever touched: the host gives QEMU a page when the guest first writes to it.

/// The bytes of a guest with `memory` bytes that QEMU's process has got from the host, of what
/// `/proc/PID/smaps` (`proc_pid_smaps(5)`) says of it; `None` where the guest's memory cannot be told from the rest.
pub fn of_guest(smaps: &str, memory: u64) -> Option<u64> {
    let mut largest: Option<Mapping> = None;
    let mut now = Mapping::default();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), value) = (words.next(), words.next()) else {
            continue;
        };
        let kib = || value.and_then(|value| value.parse::<u64>().ok()).map(|kib| kib * 1024);
        match name {
            "Size:" => {
                now = Mapping {
                    size: kib()?,
                    present: 0,
                }
            }
            // What the host has swapped out was touched, too.
            "Rss:" | "Swap:" => now.present += kib()?,
            _ => continue,
        }
        // QEMU has the guest's memory in one piece, to which its neighbours may have been joined.
        if now.size >= memory && largest.is_none_or(|largest| now.size >= largest.size) {
            largest = Some(now);
        }
    }
    largest.map(|largest| largest.present)
}

#[derive(Debug, Clone, Copy, Default)]
struct Mapping {
    size: u64,
    present: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// As Linux writes it, with fewer fields.
    const SMAPS: &str = "\
7f3fc4021000-7f4004021000 rwxp 00000000 00:00 0 
Size:            1048576 kB
KernelPageSize:        4 kB
Rss:              204800 kB
Anonymous:        204800 kB
Swap:                  0 kB
VmFlags: rd wr ex mr mw me sd 
7f4007e00000-7f4107e00000 rw-p 00000000 00:00 0 
Size:            4194304 kB
KernelPageSize:        4 kB
Rss:             1181696 kB
Pss:             1181696 kB
Swap:               1024 kB
SwapPss:            1024 kB
VmFlags: rd wr mr mw me dc ac sd hg 
7f4108000000-7f4108021000 rw-p 00000000 00:00 0                          [heap]
Size:                132 kB
Rss:                  96 kB
Swap:                  0 kB
";

    #[test]
    fn the_guests_memory_is_the_mapping_of_its_size() {
        assert_eq!(of_guest(SMAPS, 4096 * MIB), Some((1_181_696 + 1024) * 1024));
        // Joined to what lies beside it, it is larger.
        assert_eq!(of_guest(SMAPS, 4000 * MIB), Some((1_181_696 + 1024) * 1024));
    }

    #[test]
    fn what_is_in_several_pieces_is_not_told() {
        assert_eq!(of_guest(SMAPS, 8192 * MIB), None);
        assert_eq!(of_guest("", MIB), None);
        assert_eq!(of_guest("Size: ? kB\nRss: 1 kB\n", 1), None);
    }
}
