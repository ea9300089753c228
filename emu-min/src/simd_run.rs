//! SIMD instructions that the host's own execute, by stubs: operands from registers and memory, results to them.

use iced_x86::{Instruction, OpKind, Register};

use crate::core::{Core, RAX, RCX, RDX};
use crate::decode::reg_number;
use crate::flags::Flags;
use crate::op::{Op, R, Selected, seq, store};
use crate::simd_stub::{NONE, Stub, is_of_extensions};
use crate::sse_range;

/// The guest's registers behind [`crate::simd_stub::Operands::general`] where no explicit operand is.
const GENERAL: [usize; 3] = [RAX, RCX, RDX];

/// The number of the register that is explicit operand `i`; the fourth's is in the upper half of the immediate.
#[inline(always)]
fn register(op: &Op, i: u8) -> u8 {
    match i {
        0 => op.dst,
        1 => op.src,
        2 => op.aux,
        _ => (op.imm >> 32) as u8,
    }
}

impl Core {
    /// Both halves of a YMM register.
    #[inline(always)]
    pub(crate) fn ymm(&self, number: u8) -> [u128; 2] {
        let number = (number & 15) as usize;
        [self.sse.xmm[number], self.sse.ymm_high[number]]
    }

    #[inline(always)]
    pub(crate) fn set_ymm(&mut self, number: u8, [low, high]: [u128; 2]) {
        let number = (number & 15) as usize;
        self.sse.xmm[number] = low;
        self.sse.ymm_high[number] = high;
    }
}

#[inline(always)]
fn stub(core: &mut Core, op: &Op) -> R<Stub> {
    let Some(stub) = core.simd.stub(op.imm as u32) else { return Err(core.fault(crate::exception::UD)) };
    if stub.vex {
        core.avx_ready()?;
    } else {
        core.sse_ready()?;
    }
    Ok(stub)
}

/// Fills the operands from registers, but for the explicit one that is in memory.
#[inline(always)]
fn gather(core: &mut Core, op: &Op, stub: Stub, in_memory: u8) {
    if stub.reads & 1 != 0 {
        core.simd.operands.vector[0] = [core.sse.xmm[0], 0];
    }
    for i in (0..4).filter(|i| stub.reads >> (i + 1) & 1 != 0 && *i != in_memory) {
        let number = register(op, i);
        let value = if stub.wide { core.ymm(number) } else { [core.xmm(number), 0] };
        core.simd.operands.vector[i as usize + 1] = value;
    }
    if stub.general_reads != 0 {
        for (i, number) in GENERAL.into_iter().enumerate() {
            core.simd.operands.general[i] = core.r[number];
        }
        if stub.general_operand != NONE {
            core.simd.operands.general[0] = core.r[(register(op, stub.general_operand) & 15) as usize];
        }
    }
}

#[inline(always)]
fn execute(core: &mut Core, op: &Op, stub: Stub) -> R {
    if core.sse.plain || !stub.rounds {
        core.simd.call(stub);
        return Ok(());
    }
    execute_under_controls(core, op, stub)
}

#[cold]
#[inline(never)]
fn execute_under_controls(core: &mut Core, op: &Op, stub: Stub) -> R {
    let mxcsr = core.sse.mxcsr();
    let before = core.simd.operands.vector;
    let flags = core.simd.call_under(stub, core.sse.controls());
    let flags = sse_range::flags_of_stub(op.mnemonic, stub, &before, mxcsr, flags);
    core.sse_raise(flags)
}

/// Takes results over into registers, but for one that goes to memory.
#[inline(always)]
fn scatter(core: &mut Core, op: &Op, stub: Stub, in_memory: u8) {
    for i in (0..5_u8).filter(|i| stub.writes >> i & 1 != 0) {
        if i > 0 && i - 1 == in_memory {
            continue;
        }
        let number = if i == 0 { 0 } else { register(op, i - 1) };
        let [low, high] = core.simd.operands.vector[i as usize];
        match (stub.vex, stub.wide) {
            (false, _) => core.set_xmm(number, low),
            (true, false) => core.set_ymm(number, [low, 0]),
            (true, true) => core.set_ymm(number, [low, high]),
        }
    }
    if stub.general_writes != 0 {
        for i in (0..3).filter(|i| stub.general_writes >> i & 1 != 0) {
            let number = match stub.general_operand {
                NONE => GENERAL[i],
                operand if operand == in_memory => continue,
                operand => register(op, operand) as usize & 15,
            };
            core.r[number] = core.simd.operands.general[i];
        }
    }
    if stub.flags {
        core.flags = Flags::from_rflags(core.simd.operands.rflags);
    }
}

fn registers(core: &mut Core, op: &Op) -> R {
    let stub = stub(core, op)?;
    gather(core, op, stub, NONE);
    execute(core, op, stub)?;
    scatter(core, op, stub, NONE);
    Ok(())
}

/// The linear address of the memory operand.
#[inline(always)]
fn address(core: &mut Core, op: &Op, stub: Stub, write: bool) -> R<u64> {
    // The alignment comes before the segment's limit.
    if stub.aligned && core.linear_unchecked(op) & 15 != 0 {
        return Err(core.gp());
    }
    core.linear(op, u64::from(stub.memory_bytes), write)
}

fn load(core: &mut Core, op: &Op) -> R {
    let stub = stub(core, op)?;
    let address = address(core, op, stub, false)?;
    let value = match stub.memory_bytes {
        32 => core.load256(address)?,
        16 => [core.load128(address)?, 0],
        8 => [u128::from(core.load::<u64>(address)?), 0],
        4 => [u128::from(core.load::<u32>(address)?), 0],
        2 => [u128::from(core.load::<u16>(address)?), 0],
        _ => [u128::from(core.load::<u8>(address)?), 0],
    };
    gather(core, op, stub, stub.memory_operand);
    if stub.memory_operand == stub.general_operand {
        core.simd.operands.general[0] = value[0] as u64;
    } else {
        core.simd.operands.vector[(stub.memory_operand as usize + 1) % 5] = value;
    }
    execute(core, op, stub)?;
    scatter(core, op, stub, NONE);
    Ok(())
}

fn save(core: &mut Core, op: &Op) -> R {
    let stub = stub(core, op)?;
    let address = address(core, op, stub, true)?;
    if stub.rounds {
        // A store that faults leaves no flags in MXCSR.
        core.check_write(address, u64::from(stub.memory_bytes))?;
    }
    gather(core, op, stub, stub.memory_operand);
    execute(core, op, stub)?;
    let value = if stub.general_operand == 0 {
        u128::from(core.simd.operands.general[0])
    } else {
        core.simd.operands.vector[1][0]
    };
    match stub.memory_bytes {
        16 => core.store128(address, value)?,
        8 => core.store::<u64>(address, value as u64)?,
        4 => core.store::<u32>(address, value as u64)?,
        2 => core.store::<u16>(address, value as u64)?,
        _ => core.store::<u8>(address, value as u64)?,
    }
    scatter(core, op, stub, 0);
    Ok(())
}

pub(crate) fn select(core: &mut Core, ins: &Instruction, op: &mut Op) -> Selected {
    if !is_of_extensions(ins.code()) {
        return None;
    }
    let memory = (0..ins.op_count()).find(|&i| ins.op_kind(i) == OpKind::Memory);
    let number = core.simd.find(ins)?;
    let stub = core.simd.stub(number)?;
    let fourth = if ins.op_register(3) == Register::None { 0 } else { reg_number(ins.op_register(3)) };
    op.imm = u64::from(number) | u64::from(fourth) << 32;
    match memory {
        None => seq!(registers),
        Some(0) if stub.memory_operand == 0 && stub.memory_bytes <= 16 => store!(save),
        Some(i) if i > 0 && i as u8 == stub.memory_operand => seq!(load),
        Some(_) => None,
    }
}
