//! What a process that runs a guest may ask of the kernel. A test leaves out each rule in turn and sees something fail.

use std::collections::BTreeMap;

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// What executes the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// KVM.
    Kvm,
    /// emu-min.
    Emulator,
    /// KVM, with a debugger.
    DebuggedKvm,
    /// emu-min, with a debugger.
    DebuggedEmulator,
}

impl Runner {
    const fn has_kvm(self) -> bool {
        matches!(self, Self::Kvm | Self::DebuggedKvm)
    }

    const fn has_debugger(self) -> bool {
        matches!(self, Self::DebuggedKvm | Self::DebuggedEmulator)
    }
}

/// One system call that is allowed, perhaps only with certain arguments.
#[derive(Debug)]
pub(super) struct Rule {
    /// The call, and a word about its arguments where there are several rules for it.
    pub(super) name: &'static str,
    /// Its number.
    call: i64,
    /// What must hold of its arguments: number of the argument, mask, value.
    conditions: Vec<(u8, Mask, u64)>,
    /// Who needs it.
    pub(super) why: &'static str,
}

/// Which bits of an argument count.
#[derive(Debug, Clone, Copy)]
enum Mask {
    /// All 32 of an integer.
    All,
    /// These.
    Bits(u64),
}

/// From <linux/kvm.h>.
const KVM_RUN: u64 = 0xae80;
const KVM_INTERRUPT: u64 = 0x4004_ae86;
const KVM_GET_REGS: u64 = 0x8090_ae81;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_GET_STATS_FD: u64 = 0xaece;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_SET_SREGS: u64 = 0x4138_ae84;
const KVM_GET_MSRS: u64 = 0xc008_ae88;
const KVM_GET_XSAVE: u64 = 0x9000_aea4;
const KVM_SET_XSAVE: u64 = 0x5000_aea5;
const KVM_SET_GUEST_DEBUG: u64 = 0x4048_ae9b;

/// The rules of a runner.
pub(super) fn rules(runner: Runner) -> Vec<Rule> {
    let rule = |name, call, why| Rule { name, call, conditions: Vec::new(), why };
    let with =
        |name, call, why, argument, mask, value| Rule { name, call, conditions: vec![(argument, mask, value)], why };
    let executable = Mask::Bits(libc::PROT_EXEC as u64);
    let mut rules = vec![
        rule("write", libc::SYS_write, "the record of the run; what goes wrong"),
        rule("futex", libc::SYS_futex, "threads wait for one another, for the time limit and for Ctrl-C"),
        rule("restart_syscall", libc::SYS_restart_syscall, "such a wait goes on after SIGSTOP and SIGCONT"),
        rule(
            "clock_gettime",
            libc::SYS_clock_gettime,
            "hosts whose clock cannot be read without the kernel; the CPU time of a thread",
        ),
        rule(
            "getrusage",
            libc::SYS_getrusage,
            "what part of its time the thread that runs the guest spent in the kernel",
        ),
        rule("rt_sigreturn", libc::SYS_rt_sigreturn, "the end of a signal handler"),
        rule("rt_sigprocmask", libc::SYS_rt_sigprocmask, "the end of a thread"),
        rule("sigaltstack", libc::SYS_sigaltstack, "the end of a thread"),
        rule("exit", libc::SYS_exit, "the end of a thread"),
        rule("exit_group", libc::SYS_exit_group, "the end of the process"),
        rule("brk", libc::SYS_brk, "the allocator"),
        with("mmap", libc::SYS_mmap, "the allocator; nothing that can be executed", 2, executable, 0),
        rule("mremap", libc::SYS_mremap, "the allocator, when a large buffer grows"),
        rule("munmap", libc::SYS_munmap, "the allocator; the end of guest RAM"),
        with(
            "madvise-populate",
            libc::SYS_madvise,
            "guest RAM is backed before the region of interest",
            2,
            Mask::All,
            libc::MADV_POPULATE_WRITE as u64,
        ),
        with(
            "madvise-dontneed",
            libc::SYS_madvise,
            "the stack of a thread that ended; pages of translated code",
            2,
            Mask::All,
            libc::MADV_DONTNEED as u64,
        ),
    ];
    if runner.has_debugger() {
        rules.push(rule("read", libc::SYS_read, "what gdb sends, on the connection that was taken before"));
    }
    if runner.has_kvm() {
        if cfg!(debug_assertions) {
            let why = "builds with debug assertions alone: whether a descriptor that is closed is open";
            rules.push(with("fcntl", libc::SYS_fcntl, why, 1, Mask::All, libc::F_GETFD as u64));
        }
        let ioctl = |name, why, request| with(name, libc::SYS_ioctl, why, 1, Mask::All, request);
        let this_process = u64::from(std::process::id());
        rules.extend([
            ioctl("ioctl-run", "the guest runs", KVM_RUN),
            ioctl("ioctl-interrupt", "the guest's timer interrupts it", KVM_INTERRUPT),
            ioctl("ioctl-regs", "the registers of a guest that ended badly", KVM_GET_REGS),
            ioctl("ioctl-sregs", "the same", KVM_GET_SREGS),
            ioctl("ioctl-stats", "KVM's statistics", KVM_GET_STATS_FD),
            rule("pread64", libc::SYS_pread64, "reading them"),
            rule("close", libc::SYS_close, "the end of the virtual machine"),
            rule("getpid", libc::SYS_getpid, "the kick at the time limit"),
            Rule {
                conditions: vec![(0, Mask::All, this_process), (2, Mask::All, libc::SIGRTMIN() as u64)],
                ..rule("tgkill", libc::SYS_tgkill, "the kick: this signal, and to this process alone")
            },
        ]);
        if runner.has_debugger() {
            rules.extend([
                ioctl("ioctl-debug", "breakpoints and single steps", KVM_SET_GUEST_DEBUG),
                ioctl("ioctl-set-regs", "gdb changes registers", KVM_SET_REGS),
                ioctl("ioctl-set-sregs", "the same", KVM_SET_SREGS),
                ioctl("ioctl-xsave", "the registers of x87 and SSE", KVM_GET_XSAVE),
                ioctl("ioctl-set-xsave", "gdb changes them", KVM_SET_XSAVE),
                ioctl("ioctl-msrs", "where a step into the kernel leads", KVM_GET_MSRS),
            ]);
        }
    }
    rules
}

/// The names of a runner's rules, each with who needs it.
#[must_use]
pub fn list(runner: Runner) -> Vec<(&'static str, &'static str)> {
    rules(runner).iter().map(|rule| (rule.name, rule.why)).collect()
}

/// The rules as seccompiler wants them.
pub(super) fn by_call(rules: &[Rule]) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let chain = map.entry(rule.call).or_default();
        if !rule.conditions.is_empty() {
            let condition = |&(argument, mask, value): &(u8, Mask, u64)| {
                let operator = match mask {
                    Mask::All => SeccompCmpOp::Eq,
                    Mask::Bits(bits) => SeccompCmpOp::MaskedEq(bits),
                };
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            };
            chain.push(SeccompRule::new(rule.conditions.iter().map(condition).collect::<Result<_, _>>()?)?);
        }
    }
    Ok(map)
}
