//! The way into translated code and out of it: a function of the C calling convention that puts guest registers into
//! their places and jumps, and the code that puts them back and returns.

use iced_x86::{Code, MemoryOperand, Register};

use super::asm::{Asm, NotEncodable, field};
use super::frame;
use super::registers::{home, slot};

/// The function: RDI is the frame, RSI the code to run.
pub(super) type Enter = unsafe extern "sysv64" fn(frame: *mut frame::Frame, code: *const u8);

/// Registers that the calling convention keeps.
const KEPT: [Register; 6] = [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Emits the function.
pub(super) fn enter(asm: &mut Asm, avx: bool) -> Result<(), NotEncodable> {
    for register in KEPT {
        asm.r(Code::Push_r64, register)?;
    }
    asm.mr(Code::Mov_rm64_r64, MemoryOperand::with_base_displ(Register::RDI, frame::HOST_RSP as i64), Register::RSP)?;
    asm.rr(Code::Mov_r64_rm64, Register::RSP, Register::RDI)?;
    asm.rr(Code::Mov_r64_rm64, Register::R11, Register::RSI)?;
    vectors(asm, avx, true)?;
    for guest in 0..16 {
        if let Some(register) = home(guest) {
            asm.rm(Code::Mov_r64_rm64, register, field(slot(guest)))?;
        }
    }
    asm.r(Code::Jmp_rm64, Register::R11)
}

/// Emits the way out; the frame's flags are good.
pub(super) fn leave(asm: &mut Asm, avx: bool) -> Result<(), NotEncodable> {
    for guest in 0..16 {
        if let Some(register) = home(guest) {
            asm.mr(Code::Mov_rm64_r64, field(slot(guest)), register)?;
        }
    }
    vectors(asm, avx, false)?;
    if avx {
        asm.plain(Code::VEX_Vzeroupper)?;
    }
    asm.rm(Code::Mov_r64_rm64, Register::RSP, field(frame::HOST_RSP))?;
    for register in KEPT.into_iter().rev() {
        asm.r(Code::Pop_r64, register)?;
    }
    asm.plain(Code::Retnq)
}

/// Loads or stores the vector registers.
fn vectors(asm: &mut Asm, avx: bool, load: bool) -> Result<(), NotEncodable> {
    use iced_x86::Instruction;
    for number in 0..16_u32 {
        let (xmm, ymm) = (Register::XMM0 + number, Register::YMM0 + number);
        let low = field(frame::XMM + number as usize * 16);
        let high = field(frame::YMM_HIGH + number as usize * 16);
        match (avx, load) {
            (false, true) => asm.rm(Code::Movups_xmm_xmmm128, xmm, low)?,
            (false, false) => asm.mr(Code::Movups_xmmm128_xmm, low, xmm)?,
            (true, true) => {
                asm.rm(Code::VEX_Vmovups_xmm_xmmm128, xmm, low)?;
                let insert = Instruction::with4(Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, ymm, ymm, high, 1)?;
                asm.instruction(&insert)?;
            }
            (true, false) => {
                asm.mr(Code::VEX_Vmovups_xmmm128_xmm, low, xmm)?;
                asm.instruction(&Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, high, ymm, 1)?)?;
            }
        }
    }
    Ok(())
}
