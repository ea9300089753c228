//! SIMD instructions that the host's own execute, by stubs: operands from registers and memory, results to them.

use iced_x86::{Instruction, OpKind, Register};

use crate::core::{Core, RAX, RCX, RDX};
use crate::decode::reg_number;
use crate::flags::Flags;
use crate::op::{Op, R, Selected, seq, store};
use crate::simd::Place;
use crate::simd_stub::{MEMORY, NONE, RESULT, Stub, is_of_extensions};
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

    /// Loads so many bytes, zero-extended.
    #[inline(always)]
    fn load_vector(&mut self, address: u64, bytes: u8) -> R<[u128; 2]> {
        Ok(match bytes {
            32 => self.load256(address)?,
            16 => [self.load128(address)?, 0],
            8 => [u128::from(self.load::<u64>(address)?), 0],
            4 => [u128::from(self.load::<u32>(address)?), 0],
            2 => [u128::from(self.load::<u16>(address)?), 0],
            _ => [u128::from(self.load::<u8>(address)?), 0],
        })
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

/// The places of the explicit operands, but for one that is in memory: it is a source, or the result.
#[inline(always)]
fn places(op: &Op, in_memory: u8) -> [Place; 4] {
    [0, 1, 2, 3].map(|i| match i {
        0 if in_memory == 0 => Place::Scratch(RESULT as u8),
        _ if i == in_memory => Place::Scratch(MEMORY as u8),
        _ => Place::Register(register(op, i)),
    })
}

/// Fills what is not read in its place.
#[inline(always)]
fn gather(core: &mut Core, op: &Op, stub: Stub, in_memory: u8) {
    if stub.reads & 1 != 0 {
        core.simd.operands.low[0] = core.sse.xmm[0];
    }
    if stub.general_reads != 0 {
        for (i, number) in GENERAL.into_iter().enumerate() {
            core.simd.operands.general[i] = core.r[number];
        }
        if stub.general_operand != NONE && stub.general_operand != in_memory {
            core.simd.operands.general[0] = core.r[(register(op, stub.general_operand) & 15) as usize];
        }
    }
}

/// Runs the stub; if an exception is raised, no register has changed.
#[inline(always)]
fn execute(core: &mut Core, op: &Op, stub: Stub, places: [Place; 4]) -> R {
    if core.sse.plain || !stub.rounds {
        core.simd.call(&mut core.sse, stub, places);
        return Ok(());
    }
    execute_under_controls(core, op, stub, places)
}

#[cold]
#[inline(never)]
fn execute_under_controls(core: &mut Core, op: &Op, stub: Stub, places: [Place; 4]) -> R {
    let mxcsr = core.sse.mxcsr();
    let values = places.map(|place| match place {
        Place::Register(number) => core.ymm(number),
        Place::Scratch(number) => {
            let number = (number & 15) as usize;
            [core.simd.operands.low[number], core.simd.operands.high[number]]
        }
    });
    let [result, rest @ ..] = places;
    [core.simd.operands.low[RESULT], core.simd.operands.high[RESULT]] = values[0];
    let [a, b, c] = rest;
    let places = [Place::Scratch(RESULT as u8), a, b, c];
    let controls = core.sse.controls();
    let flags = core.simd.call_under(&mut core.sse, stub, places, controls);
    core.sse_raise(sse_range::flags_of_stub(op.mnemonic, stub, values, mxcsr, flags))?;
    if let (Place::Register(number), true) = (result, stub.writes & 2 != 0) {
        let (low, high) = (core.simd.operands.low[RESULT], core.simd.operands.high[RESULT]);
        if stub.vex {
            core.set_ymm(number, [low, high]);
        } else {
            core.set_xmm(number, low);
        }
    }
    Ok(())
}

/// Takes over results that were not stored in their place.
#[inline(always)]
fn scatter(core: &mut Core, op: &Op, stub: Stub, in_memory: u8) {
    if stub.writes & 1 != 0 {
        let (low, high) = (core.simd.operands.low[0], core.simd.operands.high[0]);
        if stub.vex {
            core.set_ymm(0, [low, high]);
        } else {
            core.set_xmm(0, low);
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
    execute(core, op, stub, places(op, NONE))?;
    scatter(core, op, stub, NONE);
    Ok(())
}

#[inline(always)]
fn ready<const VEX: bool>(core: &mut Core) -> R {
    if VEX { core.avx_ready() } else { core.sse_ready() }
}

/// [`registers`] for the most frequent: plain stubs under plain controls.
fn plain_registers<const VEX: bool>(core: &mut Core, op: &Op) -> R {
    ready::<VEX>(core)?;
    if !core.sse.plain {
        return rarely(core, op, registers);
    }
    core.simd.call_number(&mut core.sse, op.imm as u32, places(op, NONE));
    Ok(())
}

/// [`load`] for the most frequent, with the memory operand `LAST`.
fn plain_load<const VEX: bool, const LAST: u8>(core: &mut Core, op: &Op) -> R {
    ready::<VEX>(core)?;
    if !core.sse.plain {
        return rarely(core, op, load);
    }
    if !VEX && op.size == 16 && core.linear_unchecked(op) & 15 != 0 {
        return Err(core.gp());
    }
    let address = core.linear(op, u64::from(op.size), false)?;
    let value = core.load_vector(address, op.size)?;
    [core.simd.operands.low[MEMORY], core.simd.operands.high[MEMORY]] = value;
    core.simd.call_number(&mut core.sse, op.imm as u32, places(op, LAST));
    Ok(())
}

#[cold]
#[inline(never)]
fn rarely(core: &mut Core, op: &Op, handler: fn(&mut Core, &Op) -> R) -> R {
    handler(core, op)
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
    let value = core.load_vector(address, stub.memory_bytes)?;
    gather(core, op, stub, stub.memory_operand);
    if stub.memory_operand == stub.general_operand {
        core.simd.operands.general[0] = value[0] as u64;
    } else {
        [core.simd.operands.low[MEMORY], core.simd.operands.high[MEMORY]] = value;
    }
    execute(core, op, stub, places(op, stub.memory_operand))?;
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
    gather(core, op, stub, 0);
    execute(core, op, stub, places(op, 0))?;
    let value = if stub.general_operand == 0 {
        u128::from(core.simd.operands.general[0])
    } else {
        core.simd.operands.low[RESULT]
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
        None if stub.is_plain() && stub.vex => seq!(plain_registers::<true>),
        None if stub.is_plain() => seq!(plain_registers::<false>),
        None => seq!(registers),
        Some(1) if stub.is_plain() && stub.vex => seq!(plain_load::<true, 1>),
        Some(1) if stub.is_plain() => seq!(plain_load::<false, 1>),
        Some(2) if stub.is_plain() && stub.vex => seq!(plain_load::<true, 2>),
        Some(0) if stub.memory_operand == 0 && stub.memory_bytes <= 16 => store!(save),
        Some(i) if i > 0 && i as u8 == stub.memory_operand => seq!(load),
        Some(_) => None,
    }
}
