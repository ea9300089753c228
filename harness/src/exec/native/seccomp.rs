//! The filter that keeps code under test from calling the host's kernel.

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

use super::entry::own_system_calls;

/// What the child itself needs while it executes cases.
const NEEDED: [i64; 5] =
    [libc::SYS_rt_sigreturn, libc::SYS_futex, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_exit_group];

/// `AUDIT_ARCH_X86_64` of <linux/audit.h>.
const ARCH_X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ADDRESS_LOW: u32 = 8;
const ADDRESS_HIGH: u32 = 12;

/// Most instructions of the filter.
const CAPACITY: usize = 32;

/// The filter: a system call is allowed if it is made at one of the child's own `syscall` instructions and is one that
/// the child needs; any other raises SIGSYS.
pub(super) struct Filter {
    code: [sock_filter; CAPACITY],
    len: usize,
}

impl Filter {
    pub(super) fn new() -> Self {
        let mut filter = Self { code: [sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; CAPACITY], len: 0 };
        filter.load(ARCH);
        filter.skip_if_equal(ARCH_X86_64, 1);
        filter.answer(libc::SECCOMP_RET_TRAP);
        let addresses = own_system_calls();
        for address in addresses {
            // Five instructions: go on to the next address unless both halves match, else jump to the numbers.
            filter.load(ADDRESS_LOW);
            filter.unless_equal(address as u32, 3);
            filter.load(ADDRESS_HIGH);
            filter.unless_equal((address >> 32) as u32, 1);
            filter.goto_after_addresses(addresses.len());
        }
        filter.answer(libc::SECCOMP_RET_TRAP);
        filter.load(NUMBER);
        for (i, number) in NEEDED.into_iter().enumerate() {
            filter.skip_if_equal(number as u32, (NEEDED.len() - i) as u8);
        }
        filter.answer(libc::SECCOMP_RET_TRAP);
        filter.answer(libc::SECCOMP_RET_ALLOW);
        filter
    }

    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) {
        self.code[self.len] = sock_filter { code: code as u16, jt, jf, k };
        self.len += 1;
    }

    fn load(&mut self, offset: u32) {
        self.push(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
    }

    fn skip_if_equal(&mut self, value: u32, instructions: u8) {
        self.push(BPF_JMP | BPF_JEQ | BPF_K, instructions, 0, value);
    }

    fn unless_equal(&mut self, value: u32, instructions: u8) {
        self.push(BPF_JMP | BPF_JEQ | BPF_K, 0, instructions, value);
    }

    /// Jumps over the remaining address checks and the refusal behind them.
    fn goto_after_addresses(&mut self, addresses: usize) {
        // Three instructions precede the checks of five each; one refusal follows them.
        let target = 3 + addresses * 5 + 1;
        self.push(BPF_JMP, 0, 0, (target - self.len - 1) as u32);
    }

    fn answer(&mut self, action: u32) {
        self.push(BPF_RET | BPF_K, 0, 0, action);
    }

    /// The filter as the kernel takes it; valid while `self` is.
    pub(super) fn program(&mut self) -> sock_fprog {
        sock_fprog { len: self.len as u16, filter: self.code.as_mut_ptr() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Executes the filter as the kernel would.
    fn judge(filter: &Filter, number: u32, arch: u32, address: u64) -> u32 {
        let mut at = 0;
        let mut accumulator = 0;
        loop {
            let op = filter.code[at];
            at += 1;
            match u32::from(op.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    accumulator = match op.k {
                        NUMBER => number,
                        ARCH => arch,
                        ADDRESS_LOW => address as u32,
                        ADDRESS_HIGH => (address >> 32) as u32,
                        other => panic!("loads offset {other}"),
                    }
                }
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if accumulator == op.k { op.jt } else { op.jf });
                }
                BPF_JMP => at += op.k as usize,
                _ => return op.k,
            }
        }
    }

    #[test]
    fn only_needed_calls_from_own_instructions_pass() {
        let filter = Filter::new();
        assert!(filter.len < CAPACITY);
        for address in own_system_calls() {
            for number in NEEDED {
                assert_eq!(judge(&filter, number as u32, ARCH_X86_64, address), libc::SECCOMP_RET_ALLOW);
                assert_eq!(judge(&filter, number as u32, 0x4000_0003, address), libc::SECCOMP_RET_TRAP);
                assert_eq!(judge(&filter, number as u32, ARCH_X86_64, address + 1), libc::SECCOMP_RET_TRAP);
                assert_eq!(judge(&filter, number as u32, ARCH_X86_64, address ^ 1 << 40), libc::SECCOMP_RET_TRAP);
            }
            for number in [libc::SYS_openat, libc::SYS_kill, libc::SYS_write, libc::SYS_execve] {
                assert_eq!(judge(&filter, number as u32, ARCH_X86_64, address), libc::SECCOMP_RET_TRAP);
            }
        }
    }
}
