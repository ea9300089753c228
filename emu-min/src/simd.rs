//! The stubs of a CPU: made when an instruction is decoded for the first time, kept for ever.
//!
//! A stub depends on the instruction and an 8-bit immediate, so there are finitely many; the code area has room for all
//! of them, and no guest, however hostile, can fill it. Nothing ever points at code that was replaced.

use core::arch::asm;
use core::mem::offset_of;
use std::collections::HashMap;
use std::sync::OnceLock;

use iced_x86::Instruction;

use crate::host_code::HostCode;
use crate::simd_stub::{Operands, Stub, assemble, immediate};

/// Room for every stub there can be. Pages take memory once they are written.
pub(crate) const CAPACITY: usize = 2 << 20;
/// Stubs begin at multiples of it.
const ALIGNMENT: usize = 16;

/// Stubs and the operands they work on.
pub(crate) struct Simd {
    pub(crate) operands: Operands,
    stubs: Vec<Stub>,
    by_instruction: HashMap<u32, Option<u32>>,
    code: Option<HostCode>,
    used: usize,
}

/// Whether this process may make code and execute it.
pub(crate) fn is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| HostCode::new(4096).is_ok())
}

impl Simd {
    /// Stubs in a code area of [`CAPACITY`] bytes; none without one.
    pub(crate) fn new(code: Option<HostCode>) -> Self {
        Self { operands: Operands::default(), stubs: Vec::new(), by_instruction: HashMap::new(), code, used: 0 }
    }

    /// Whether there is memory for stubs.
    pub(crate) fn is_available(&self) -> bool {
        self.code.is_some()
    }

    /// The number of the stub for an instruction, if it can have one.
    pub(crate) fn find(&mut self, ins: &Instruction) -> Option<u32> {
        let key = ins.code() as u32 | u32::from(immediate(ins)) << 16;
        if let Some(known) = self.by_instruction.get(&key) {
            return *known;
        }
        let number = self.make(ins);
        self.by_instruction.insert(key, number);
        number
    }

    fn make(&mut self, ins: &Instruction) -> Option<u32> {
        let (mut stub, bytes) = assemble(ins)?;
        if !self.code.as_mut()?.write(self.used, &bytes) {
            return None;
        }
        stub.offset = self.used as u32;
        self.used += bytes.len().next_multiple_of(ALIGNMENT);
        self.stubs.push(stub);
        Some(self.stubs.len() as u32 - 1)
    }

    /// The stub of this number.
    #[inline(always)]
    pub(crate) fn stub(&self, number: u32) -> Option<Stub> {
        self.stubs.get(number as usize).copied()
    }

    /// Runs a stub of this CPU on [`Self::operands`].
    #[inline(always)]
    pub(crate) fn call(&mut self, stub: Stub) {
        let Some(code) = &self.code else { return };
        let entry = code.address(stub.offset as usize);
        // SAFETY: `entry` is where `make` wrote a whole function of this calling convention, for stubs come from
        // `stub` only and code is never overwritten. It works on registers that the convention lets it change and on
        // the operands that it is given.
        unsafe {
            let function: extern "sysv64" fn(*mut Operands) = core::mem::transmute(entry);
            function(&raw mut self.operands);
        }
    }

    /// Runs a stub with these MXCSR controls; returns MXCSR after it.
    pub(crate) fn call_under(&mut self, stub: Stub, controls: u32) -> u32 {
        let Some(code) = &self.code else { return controls };
        let entry = code.address(stub.offset as usize);
        self.operands.mxcsr = controls;
        // SAFETY: as in `call`; the stub leaves RDI alone. The host's MXCSR is saved and restored within the block,
        // and exceptions are masked in `controls`, which is `Sse::controls`.
        unsafe {
            asm!(
                "stmxcsr [rdi + {saved}]",
                "ldmxcsr [rdi + {controls}]",
                "call {entry}",
                "stmxcsr [rdi + {controls}]",
                "ldmxcsr [rdi + {saved}]",
                saved = const offset_of!(Operands, host_mxcsr),
                controls = const offset_of!(Operands, mxcsr),
                entry = in(reg) entry,
                in("rdi") &raw mut self.operands,
                clobber_abi("sysv64"),
            );
        }
        self.operands.mxcsr
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, OpCodeOperandKind, OpKind, Register};

    use super::*;
    use crate::simd_stub::is_of_extensions;

    #[test]
    fn without_executable_memory_there_are_no_stubs() {
        let mut simd = Simd::new(None);
        assert!(!simd.is_available());
        assert_eq!(simd.find(&instruction(Code::Pshufb_xmm_xmmm128, 0).unwrap()), None);
    }

    /// The instruction `code` with registers as operands, where it has such a form.
    fn instruction(code: Code, immediate: u8) -> Option<Instruction> {
        let info = code.op_code();
        let mut ins = Instruction::new();
        ins.set_code(code);
        for i in 0..info.op_count() {
            if info.op_kind(i) == OpCodeOperandKind::imm8 {
                ins.set_op_kind(i, OpKind::Immediate8);
                ins.set_immediate8(immediate);
            } else {
                ins.set_op_kind(i, OpKind::Register);
                ins.set_op_register(i, Register::XMM0);
            }
        }
        Some(ins).filter(|_| info.is_instruction())
    }

    fn has_immediate(code: Code) -> bool {
        code.op_code().op_kinds().contains(&OpCodeOperandKind::imm8)
    }

    #[test]
    fn the_code_area_has_room_for_every_stub() {
        let mut total = 0;
        for code in Code::values().filter(|&code| is_of_extensions(code)) {
            let immediates = if has_immediate(code) { 256 } else { 1 };
            // The length does not depend on the immediate.
            let stub = instruction(code, 0).and_then(|ins| assemble(&ins));
            total += immediates * stub.map_or(0, |(_, bytes)| bytes.len().next_multiple_of(ALIGNMENT));
        }
        assert!(total > CAPACITY / 4 && total <= CAPACITY, "{total}");
    }

    #[test]
    fn a_stub_reaches_no_memory_but_its_operands() {
        let mut count = 0;
        for code in Code::values().filter(|&code| is_of_extensions(code)) {
            let Some((_, bytes)) = instruction(code, 0x5a).and_then(|ins| assemble(&ins)) else { continue };
            count += 1;
            let decoded: Vec<Instruction> = Decoder::new(64, &bytes, DecoderOptions::NONE).into_iter().collect();
            assert!(decoded.iter().any(|ins| ins.code() == code), "{code:?}");
            assert_eq!(decoded.last().map(Instruction::code), Some(Code::Retnq));
            for ins in &decoded {
                let own = (0..ins.op_count()).all(|i| match ins.op_kind(i) {
                    OpKind::Memory => {
                        let end = ins.memory_displacement64() as usize + ins.memory_size().size();
                        ins.memory_base() == Register::RDI
                            && ins.memory_index() == Register::None
                            && end <= size_of::<Operands>()
                    }
                    kind => matches!(kind, OpKind::Register | OpKind::Immediate8),
                });
                assert!(own, "{code:?}: {ins:?}");
            }
        }
        assert!(count > 600, "{count}");
    }

    #[test]
    fn instructions_with_memory_operands_only_have_no_stub() {
        for code in
            [Code::VEX_Vpgatherdd_ymm_vm32y_ymm, Code::Lddqu_xmm_m128, Code::VEX_Vldmxcsr_m32, Code::Addps_xmm_xmmm128]
        {
            assert!(instruction(code, 0).and_then(|ins| assemble(&ins)).is_none(), "{code:?}");
        }
    }

    #[test]
    fn a_stub_computes_and_is_found_again() {
        let mut simd = Simd::new(HostCode::new(CAPACITY).ok());
        let ins = instruction(Code::Pshufb_xmm_xmmm128, 0).unwrap();
        let number = simd.find(&ins).unwrap();
        assert_eq!(simd.find(&ins), Some(number));
        simd.operands.vector[1] = [0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100, 1];
        simd.operands.vector[2] = [0x80, 2];
        let stub = simd.stub(number).unwrap();
        simd.call(stub);
        assert_eq!(simd.operands.vector[1], [0, 1]);
        assert_eq!(simd.call_under(stub, 0x7f80), 0x7f80);
    }
}
