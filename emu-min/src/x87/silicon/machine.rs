//! One instruction on the host's x87 unit, from a given state to a recorded one.

use std::arch::asm;

use crate::flags::STATUS;
use crate::state::Fpu;

/// What an instruction left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) fpu: Fpu,
    pub(super) tag_word: u16,
    pub(super) memory: [u8; 128],
    pub(super) rflags: u64,
    pub(super) ax: u16,
}

/// An FXSAVE area.
#[repr(C, align(64))]
struct Area([u8; 512]);

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

    /// Runs `instruction`, which may use [RSI] = `memory`, ESI as an integer, AX (0) and the arithmetic flags.
    pub(super) fn run(&self, start: &Fpu, instruction: &[u8], memory: [u8; 128], rflags: u64) -> Outcome {
        let code = [
            &[0x52, 0x9d][..],             // push rdx; popfq
            &[0x48, 0x0f, 0xae, 0x0f],     // fxrstor64 [rdi]
            instruction,
            &[0x48, 0x0f, 0xae, 0x07],     // fxsave64 [rdi]
            &[0x9c, 0x5a],                 // pushfq; pop rdx
            &[0xd9, 0xb6, 0x80, 0, 0, 0],  // fnstenv [rsi + 128]
            &[0xdb, 0xe3, 0xc3],           // fninit; ret
        ]
        .concat();
        let mut area = Area([0; 512]);
        area.0[0..2].copy_from_slice(&start.fcw.to_le_bytes());
        area.0[2..4].copy_from_slice(&start.fsw.to_le_bytes());
        area.0[4] = start.ftw;
        area.0[6..8].copy_from_slice(&start.fop.to_le_bytes());
        area.0[8..16].copy_from_slice(&start.fip.to_le_bytes());
        area.0[16..24].copy_from_slice(&start.fdp.to_le_bytes());
        area.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        for (i, value) in start.st.iter().enumerate() {
            area.0[32 + i * 16..42 + i * 16].copy_from_slice(&value.to_le_bytes()[..10]);
        }
        let mut buffer = [0_u8; 128 + 28];
        buffer[..128].copy_from_slice(&memory);
        let mut flags = rflags | 0x202;
        let mut ax = 0_u64;
        // SAFETY: the code fits its page. It reads and writes `area` and `buffer`, whose sizes fit every instruction
        // of the set, and the registers declared; it runs no waiting x87 instruction with an exception pending, and
        // leaves the x87 unit as FNINIT does, which is the state of the ABI.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.page, code.len());
            asm!(
                "sub rsp, 128", // the red zone
                "call {page}",
                "add rsp, 128",
                page = in(reg) self.page,
                in("rdi") &raw mut area,
                in("rsi") &raw mut buffer,
                inout("rdx") flags,
                inout("rax") ax,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        let word = |at: usize| u16::from_le_bytes([area.0[at], area.0[at + 1]]);
        let quad = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| area.0[at + i]));
        let st = std::array::from_fn(|i| u128::from(quad(32 + i * 16)) | u128::from(word(40 + i * 16)) << 64);
        Outcome {
            fpu: Fpu {
                fcw: word(0),
                fsw: word(2),
                ftw: area.0[4],
                fop: word(6),
                fip: quad(8),
                fdp: quad(16),
                st,
            },
            tag_word: u16::from_le_bytes([buffer[136], buffer[137]]),
            memory: std::array::from_fn(|i| buffer[i]),
            rflags: flags & STATUS,
            ax: ax as u16,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nothing runs in it any more.
        unsafe { libc::munmap(self.page.cast(), PAGE) };
    }
}

impl Outcome {
    /// Without the pointers, which the unit's surroundings keep and FXSAVE may not show, be they in the registers or
    /// in what `fop` stored.
    pub(super) fn without_pointers(mut self, fop: u16) -> Self {
        (self.fpu.fop, self.fpu.fip, self.fpu.fdp) = (0, 0, 0);
        if matches!(fop, 0x136 | 0x536) {
            self.memory[12..28].fill(0);
        }
        self
    }

    /// What is not equal: its name, this value (the silicon's), the other's.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut compare = |name: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            let (a, b) = (format!("{a:x?}"), format!("{b:x?}"));
            if a != b {
                all.push(format!("{name} {a} not {b}"));
            }
        };
        compare("fcw", &self.fpu.fcw, &other.fpu.fcw);
        compare("fsw", &self.fpu.fsw, &other.fpu.fsw);
        compare("ftw", &self.fpu.ftw, &other.fpu.ftw);
        compare("tags", &self.tag_word, &other.tag_word);
        compare("rflags", &self.rflags, &other.rflags);
        compare("ax", &self.ax, &other.ax);
        compare("memory", &self.memory, &other.memory);
        for i in 0..8 {
            compare(&format!("st{i}"), &self.fpu.st[i], &other.fpu.st[i]);
        }
        all
    }
}
