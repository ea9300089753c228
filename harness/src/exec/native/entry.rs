//! The few instructions between the child's own code and the code under test.
//!
//! All system calls of the child are made at one of the three labels here, so the seccomp filter can tell them from
//! those that the code under test attempts.

use std::arch::global_asm;

/// Index of the first general register in the words of a `ucontext` (Linux: `uc_mcontext` at offset 40).
const GREGS: usize = 5;
/// Index of R8 to R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP by encoding order of RAX, RCX, ...
pub(super) const GPR_WORDS: [usize; 16] = [
    GREGS + 13,
    GREGS + 14,
    GREGS + 12,
    GREGS + 11,
    GREGS + 15,
    GREGS + 10,
    GREGS + 9,
    GREGS + 8,
    GREGS,
    GREGS + 1,
    GREGS + 2,
    GREGS + 3,
    GREGS + 4,
    GREGS + 5,
    GREGS + 6,
    GREGS + 7,
];
pub(super) const RIP_WORD: usize = GREGS + 16;
pub(super) const RFLAGS_WORD: usize = GREGS + 17;
/// CS in bits 0-15, SS in bits 48-63.
pub(super) const SELECTORS_WORD: usize = GREGS + 18;
pub(super) const ERROR_WORD: usize = GREGS + 19;
pub(super) const TRAP_WORD: usize = GREGS + 20;
pub(super) const CR2_WORD: usize = GREGS + 22;
/// Address of the XSAVE area.
pub(super) const FPSTATE_WORD: usize = GREGS + 23;
/// The signal mask to restore.
pub(super) const MASK_WORD: usize = GREGS + 32;
/// Words of a `ucontext` as the kernel writes and reads it.
pub(super) const UCONTEXT_WORDS: usize = MASK_WORD + 1;

/// What [`enter`] loads by itself, because `rt_sigreturn` does not.
#[repr(C)]
pub(super) struct EntryState {
    /// Where [`enter`] leaves the stack pointer for [`resume`].
    pub(super) saved_rsp: u64,
    /// Address of the `ucontext` to load.
    pub(super) ucontext: u64,
    pub(super) fs_base: u64,
    pub(super) gs_base: u64,
    /// Flags that `rt_sigreturn` takes over from the caller: NT, ID and the fixed ones.
    pub(super) flags: u64,
    /// Selector of DS, ES, FS and GS.
    pub(super) data_selector: u64,
}

global_asm!(
    // syscall(number, a1, ..., a6): the result of the kernel, a negative errno if it failed.
    ".globl evlab_native_syscall",
    "evlab_native_syscall:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    ".globl evlab_native_syscall_made",
    "evlab_native_syscall_made:",
    "ret",
    // enter(state): loads everything and goes to the code under test; returns when `resume` is called.
    ".globl evlab_native_enter",
    "evlab_native_enter:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi], rsp",
    "mov eax, [rdi + 40]",
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov rax, [rdi + 16]",
    "wrfsbase rax",
    "mov rax, [rdi + 24]",
    "wrgsbase rax",
    "push qword ptr [rdi + 32]",
    "popfq",
    "mov rsp, [rdi + 8]",
    "mov eax, 15", // rt_sigreturn
    "syscall",
    ".globl evlab_native_entered",
    "evlab_native_entered:",
    "ud2",
    // resume(state): makes the pending `enter` return.
    ".globl evlab_native_resume",
    "evlab_native_resume:",
    "mov rsp, [rdi]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // The signal handler: the kernel keeps AC, NT and ID of the interrupted code, which Rust code does not expect.
    ".globl evlab_native_handler",
    "evlab_native_handler:",
    "push 0x202",
    "popfq",
    "jmp {on_signal}",
    // Where a returning handler goes.
    ".globl evlab_native_restorer",
    "evlab_native_restorer:",
    "mov eax, 15", // rt_sigreturn
    "syscall",
    ".globl evlab_native_restored",
    "evlab_native_restored:",
    "ud2",
    on_signal = sym super::child::on_signal,
);

unsafe extern "C" {
    /// Makes a system call.
    ///
    /// # Safety
    /// As the call demands.
    #[link_name = "evlab_native_syscall"]
    pub(super) unsafe fn syscall(
        number: i64,
        a1: usize,
        a2: usize,
        a3: usize,
        a4: usize,
        a5: usize,
        a6: usize,
    ) -> isize;
    /// Goes to the code under test.
    ///
    /// # Safety
    /// `state` is valid, its `ucontext` is one that the kernel accepts, the handler is installed for every signal that
    /// the code can cause, and runs on its own stack.
    #[link_name = "evlab_native_enter"]
    pub(super) unsafe fn enter(state: *mut EntryState);
    /// Makes the pending `enter(state)` return, abandoning the current stack.
    ///
    /// # Safety
    /// There is a pending `enter` with the same state.
    #[link_name = "evlab_native_resume"]
    pub(super) unsafe fn resume(state: *mut EntryState) -> !;
    #[link_name = "evlab_native_handler"]
    unsafe fn handler();
    #[link_name = "evlab_native_restorer"]
    unsafe fn restorer();
    #[link_name = "evlab_native_syscall_made"]
    static SYSCALL_MADE: u8;
    #[link_name = "evlab_native_entered"]
    static ENTERED: u8;
    #[link_name = "evlab_native_restored"]
    static RESTORED: u8;
}

/// Addresses of the signal handler and of what it returns to.
pub(super) fn handler_addresses() -> (usize, usize) {
    (handler as *const () as usize, restorer as *const () as usize)
}

/// Address of the instruction after the `syscall` with which [`enter`] loads the registers.
pub(super) fn entered() -> usize {
    &raw const ENTERED as usize
}

/// Addresses after the three `syscall` instructions of the child, as seccomp reports them.
pub(super) fn own_system_calls() -> [u64; 3] {
    [&raw const SYSCALL_MADE, &raw const ENTERED, &raw const RESTORED].map(|label| label as u64)
}
