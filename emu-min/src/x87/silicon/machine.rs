//! One instruction on the host, from a given state to a recorded one.

use std::arch::asm;

use super::snapshot::{MEMORY, Snapshot, relative};
use crate::flags::STATUS;
use crate::state::Fpu;

/// An FXSAVE area.
#[repr(C, align(64))]
struct Area([u8; 512]);

/// The memory of a snapshot, and room for an environment.
#[repr(C, align(64))]
struct Buffer([u8; MEMORY + 32]);

/// A page of host memory to run code from.
pub(super) struct Machine {
    page: *mut u8,
}

const PAGE: usize = 4096;

impl Machine {
    pub(super) fn new() -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        // SAFETY: a fresh private mapping affects nothing else.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), PAGE, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(page, libc::MAP_FAILED, "the host refuses executable memory");
        Self { page: page.cast() }
    }

    /// Runs `instruction`, which may use the memory at RSI and RDI, RAX, RCX, the x87, MMX and XMM registers and the
    /// arithmetic flags.
    pub(super) fn run(&self, start: &Snapshot, instruction: &[u8]) -> Snapshot {
        let before: &[u8] = &[
            0x57, 0x56, 0x52, 0x9d, // push rdi; push rsi; push rdx; popfq
            0x48, 0x0f, 0xae, 0x0f, // fxrstor64 [rdi]
            0x48, 0x89, 0xf7, // mov rdi, rsi
        ];
        let after: &[u8] = &[
            0x5e, 0x5f, // pop rsi; pop rdi
            0x48, 0x0f, 0xae, 0x07, // fxsave64 [rdi]
            0x9c, 0x5a, // pushfq; pop rdx
            0xd9, 0xb6, 0x80, 0, 0, 0, // fnstenv [rsi + 128]
            0xdb, 0xe3, 0xc3, // fninit; ret
        ];
        let code = [before, instruction, after].concat();
        let mut area = image(start);
        let mut buffer = Buffer([0; MEMORY + 32]);
        buffer.0[..MEMORY].copy_from_slice(&start.memory);
        let mut rflags = start.rflags | 0x202;
        let (mut rax, mut rcx) = (start.rax, start.rcx);
        let mut mxcsr = 0_u32;
        // SAFETY: the code fits its page. It reads and writes `area` and `buffer`, whose sizes fit every instruction
        // of the set, and the registers declared; it runs no waiting x87 instruction with an exception pending, and
        // leaves the x87 unit as FNINIT does, which is the state of the ABI. MXCSR is put back.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.page, code.len());
            asm!(
                "stmxcsr [{mxcsr}]",
                "sub rsp, 128", // the red zone
                "call {page}",
                "add rsp, 128",
                "ldmxcsr [{mxcsr}]",
                mxcsr = in(reg) &raw mut mxcsr,
                page = in(reg) self.page,
                in("rdi") &raw mut area,
                in("rsi") &raw mut buffer,
                inout("rdx") rflags,
                inout("rax") rax,
                inout("rcx") rcx,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        let quad = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| area.0[at + i]));
        // FXSAVE may not tell the pointers, but FNSTENV does.
        let word = |at: usize| u16::from_le_bytes([buffer.0[MEMORY + at], buffer.0[MEMORY + at + 1]]);
        let pointer = |at: usize| u64::from(word(at)) | u64::from(word(at + 2)) << 16;
        let begin = self.page as u64 + before.len() as u64;
        Snapshot {
            fpu: Fpu {
                fcw: quad(0) as u16,
                fsw: (quad(0) >> 16) as u16,
                ftw: (quad(0) >> 32) as u8,
                fop: word(18) & 0x7ff,
                fcs: word(16),
                fds: word(24),
                fip: relative(pointer(12), begin, 16),
                fdp: relative(pointer(20), &raw const buffer as u64, MEMORY as u64),
                st: std::array::from_fn(|i| u128::from(quad(32 + i * 16)) | u128::from(quad(40 + i * 16) as u16) << 64),
            },
            tag_word: word(8),
            xmm: std::array::from_fn(|i| u128::from(quad(160 + i * 16)) | u128::from(quad(168 + i * 16)) << 64),
            mxcsr: quad(24) as u32,
            memory: std::array::from_fn(|i| buffer.0[i]),
            rflags: rflags & STATUS,
            rax,
            rcx,
        }
    }
}

/// A snapshot as FXRSTOR loads it.
fn image(start: &Snapshot) -> Area {
    let mut area = Area([0; 512]);
    let mut put = |at: usize, bytes: &[u8]| area.0[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &start.fpu.fcw.to_le_bytes());
    put(2, &start.fpu.fsw.to_le_bytes());
    put(4, &[start.fpu.ftw]);
    put(6, &start.fpu.fop.to_le_bytes());
    put(8, &start.fpu.fip.to_le_bytes());
    put(16, &start.fpu.fdp.to_le_bytes());
    put(24, &start.mxcsr.to_le_bytes());
    for i in 0..8 {
        put(32 + i * 16, &start.fpu.st[i].to_le_bytes()[..10]);
    }
    for i in 0..16 {
        put(160 + i * 16, &start.xmm[i].to_le_bytes());
    }
    area
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nothing runs in it any more.
        unsafe { libc::munmap(self.page.cast(), PAGE) };
    }
}
