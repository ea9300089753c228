//! Whether the host's memory can take that many guests, asked before any is started.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// What a guest needs beside its RAM, MiB: the process that runs it, with the code that it translates.
const BESIDE_RAM_MIB: u64 = 64;

/// The host's memory cannot take them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{guests} guests with {ram_mib} MiB of RAM may need {need_mib} MiB of memory, but this host has {available_mib} MiB \
     available; {remedy}"
)]
pub struct NoRoom {
    guests: u32,
    ram_mib: u32,
    need_mib: u64,
    available_mib: u64,
    remedy: String,
}

/// Memory that new processes can have without swapping, MiB, by the kernel's estimate, and within the limit of this control
/// group, such as a container's.
#[must_use]
pub fn available_mib() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    System::new_with_specifics(memory).map_or(u64::MAX, |system| {
        let bytes = system.available_memory();
        let limited = system.cgroup_limits().map_or(bytes, |limits| bytes.min(limits.free_memory));
        limited >> 20
    })
}

/// Checks that `guests` fit into `available_mib`, should each touch all of its RAM.
///
/// # Errors
/// [`NoRoom`], which says what would fit.
pub fn check(guests: u32, ram_mib: u32, available_mib: u64) -> Result<(), NoRoom> {
    let each = u64::from(ram_mib) + BESIDE_RAM_MIB;
    let need_mib = u64::from(guests) * each;
    if need_mib <= available_mib {
        return Ok(());
    }
    let remedy = match available_mib / each {
        0 => "take less of it with --ram".to_owned(),
        fit => format!("take at most --guests {fit}, or less RAM with --ram"),
    };
    Err(NoRoom { guests, ram_mib, need_mib, available_mib, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_some_memory() {
        assert!(available_mib() > 64, "{}", available_mib());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        assert_eq!(check(8, 256, 8 * 320), Ok(()));
        let text = check(8, 256, 8 * 320 - 1).unwrap_err().to_string();
        assert!(text.contains("8 guests with 256 MiB") && text.contains("2560 MiB"), "{text}");
        assert!(text.ends_with("take at most --guests 7, or less RAM with --ram"), "{text}");
        let text = check(1, 3072, 100).unwrap_err().to_string();
        assert!(text.ends_with("take less of it with --ram"), "{text}");
    }
}
