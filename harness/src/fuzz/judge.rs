//! Whether two engines disagree, about what the manuals define.

use iced_x86::Instruction;

use super::catalog::Catalog;
use super::trace::{Step, trace};
use super::undefined::{STATUS, approximates, defines, reads, transcendental, undefined};
use crate::exec::{Difference, EmuRunner, End, Engine, FinalState, MemoryChange, Scope, Snippet, differences};

/// What comparing two final states came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They agree; some bits may have been undefined.
    Same,
    /// The code did something whose outcome no manual defines, so that nothing can be said.
    Unjudged(&'static str),
    /// They disagree.
    Different(Vec<Difference>),
}

/// Compares final states.
#[derive(Debug)]
pub struct Judge {
    tracer: EmuRunner,
    catalog: Catalog,
}

impl Judge {
    /// A judge that allows the instructions of `catalog`.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { tracer: EmuRunner::new(Engine::EmuNaive), catalog }
    }

    /// Compares the states in which two engines left `snippet`.
    pub fn judge(&mut self, snippet: &Snippet, left: &FinalState, right: &FinalState) -> Verdict {
        let mode = snippet.mode;
        let found = differences(left, right, mode, &Scope::default());
        if found.is_empty() {
            return Verdict::Same;
        }
        if left.end == End::Budget || right.end == End::Budget {
            return Verdict::Unjudged("it does not end within the budget");
        }
        if left.end == End::KernelCall || right.end == End::KernelCall {
            return Verdict::Unjudged("it calls the kernel");
        }
        let steps = trace(&mut self.tracer, snippet);
        if !steps.iter().all(|step| self.catalog.allows(&step.instruction)) {
            return Verdict::Unjudged("it runs into instructions that are not compared");
        }
        // The instruction that raised the exception, if one did: what it would have written is not written.
        let culprit = steps.iter().rposition(|step| faulted_at(left, step) || faulted_at(right, step));
        let mut right = right.clone();
        if let Some(step) = culprit.and_then(|at| steps.get(at)) {
            align_fault_address(&step.instruction, left, &mut right);
            if let Some(reason) = disputed(step, left, &right) {
                return Verdict::Unjudged(reason);
            }
        }
        let complete = &steps[..culprit.unwrap_or(steps.len())];
        let taint = match taint(complete) {
            Ok(taint) => taint,
            Err(reason) => return Verdict::Unjudged(reason),
        };
        let mut left = left.clone();
        for (address, len) in processor_specific(complete) {
            forget(&mut left, address, len);
            forget(&mut right, address, len);
        }
        let left = &left;
        let found = differences(left, &right, mode, &taint.scope);
        if found.is_empty() {
            return Verdict::Same;
        }
        if let Some(last) = steps.iter().rfind(|step| is_approximate(&step.instruction))
            && close_enough(&last.instruction, &found)
        {
            return Verdict::Same;
        }
        Verdict::Different(found)
    }
}

/// Takes over the address of a page fault if the instruction makes several accesses, or a long one, and both engines name
/// a byte of them: in which order a processor makes them is not defined (SDM volume 3, 6.15, interrupt 14: CR2 holds "the
/// linear address that generated the exception").
fn align_fault_address(instruction: &Instruction, left: &FinalState, right: &mut FinalState) {
    use iced_x86::Mnemonic as M;
    const LONGEST: u64 = 512;
    let two_operands = matches!(instruction.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq);
    let several = matches!(
        instruction.mnemonic(),
        M::Fxsave
            | M::Fxsave64
            | M::Fxrstor
            | M::Fxrstor64
            | M::Fnstenv
            | M::Fldenv
            | M::Fnsave
            | M::Frstor
            | M::Retf
            | M::Iret
            | M::Iretd
            | M::Iretq
            | M::Pusha
            | M::Pushad
            | M::Popa
            | M::Popad
            | M::Enter
            | M::Bound
            | M::Les
            | M::Lds
            | M::Lss
            | M::Lfs
            | M::Lgs
    ) || instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect()
        || instruction.is_call_far();
    if let (End::Exception(a), End::Exception(b)) = (left.end, &mut right.end)
        && let (Some(first), Some(second)) = (a.address, b.address)
        && a.error_code == b.error_code
        && (two_operands || several && first.abs_diff(second) < LONGEST)
    {
        b.address = a.address;
    }
}

/// Whether the exception that ended `state` was raised by `step`.
fn faulted_at(state: &FinalState, step: &Step) -> bool {
    matches!(state.end, End::Exception(_)) && step.instruction.ip() == state.registers.rip
}

/// Why nothing can be said about how the instruction that raised an exception ended.
fn disputed(last: &Step, left: &FinalState, right: &FinalState) -> Option<&'static str> {
    use iced_x86::Mnemonic as M;
    let mnemonic = last.instruction.mnemonic();
    let faults = |state: &FinalState| matches!(state.end, End::Exception(_));
    if left.end == right.end {
        return None;
    }
    // SDM MASKMOVDQU, MASKMOVQ: with a mask of all 0s "exceptions associated with addressing memory may still be
    // signaled (implementation dependent)".
    if matches!(mnemonic, M::Maskmovdqu | M::Maskmovq | M::Vmaskmovdqu) {
        let st = last.registers.x87.st;
        let number = last.instruction.op_register(2).number();
        let sign_bits = 0x8080_8080_8080_8080_8080_8080_8080_8080;
        let mask = if mnemonic == M::Maskmovq {
            st[number & 7] & u128::from(u64::MAX)
        } else {
            last.registers.ymm[number & 15][0]
        };
        return (mask & sign_bits == 0).then_some("a masked store stores nothing, and may fault or not");
    }
    if non_canonical_offset(last) {
        return Some("processors differ about a non-canonical offset to which the segment base is added");
    }
    // SDM RET, IRET check the selector before they read the outer stack pointer; AMD processors read it first.
    let far_return = matches!(mnemonic, M::Retf | M::Iret | M::Iretd | M::Iretq);
    (far_return && faults(left) && faults(right)).then_some("processors check a far return in different orders")
}

/// Whether the offset of an operand in FS or GS is not canonical, before the base is added. The linear address may be:
/// then Intel processors make the access (SDM volume 1, 3.3.7.1 speaks of linear addresses), AMD processors raise #GP.
fn non_canonical_offset(step: &Step) -> bool {
    use iced_x86::Register;
    let canonical = |address: u64| ((address << 16) as i64 >> 16) as u64 == address;
    let based = matches!(step.instruction.memory_segment(), Register::FS | Register::GS);
    let base = match step.instruction.memory_segment() {
        Register::FS => step.registers.fs_base,
        _ => step.registers.gs_base,
    };
    based && operand_address(step).is_some_and(|linear| !canonical(linear.wrapping_sub(base)))
}

/// Memory that holds what only describes the processor: MXCSR_MASK in the images of FXSAVE (SDM volume 1, 11.6.6).
fn processor_specific(steps: &[Step]) -> Vec<(u64, u64)> {
    use iced_x86::Mnemonic as M;
    let saves = steps.iter().filter(|step| matches!(step.instruction.mnemonic(), M::Fxsave | M::Fxsave64));
    saves.filter_map(|step| Some((operand_address(step)?.wrapping_add(28), 4))).collect()
}

/// Linear address of the memory operand.
fn operand_address(step: &Step) -> Option<u64> {
    use iced_x86::Register;
    step.instruction.virtual_address(0, 0, |register, _, _| {
        Some(match register {
            Register::FS => step.registers.fs_base,
            Register::GS => step.registers.gs_base,
            _ if register.is_segment_register() => 0,
            _ => {
                let number = (register.full_register() as usize).wrapping_sub(Register::RAX as usize);
                let value = *step.registers.gprs.get(number)?;
                if register.size() == 8 { value } else { value & ((1 << (register.size() * 8)) - 1) }
            }
        })
    })
}

/// Drops what is known of `[address, address + len)` from the changes of memory.
fn forget(state: &mut FinalState, address: u64, len: u64) {
    let mut kept = Vec::new();
    for change in state.memory.drain(..) {
        for (byte, at) in change.bytes.into_iter().zip(change.address..) {
            if at.wrapping_sub(address) < len {
                continue;
            }
            match kept.last_mut() {
                Some(MemoryChange { address, bytes }) if *address + bytes.len() as u64 == at => bytes.push(byte),
                _ => kept.push(MemoryChange { address: at, bytes: vec![byte] }),
            }
        }
    }
    state.memory = kept;
}

/// What is undefined at the end of a trace.
struct Taint {
    scope: Scope,
}

/// Follows what is undefined through the instructions, or says why nothing can be said.
fn taint(steps: &[Step]) -> Result<Taint, &'static str> {
    let (mut flags, mut fsw) = (0, 0);
    for step in steps {
        let (flags_read, fsw_read) = reads(&step.instruction);
        if flags_read & flags != 0 || fsw_read && fsw != 0 {
            return Err("it reads flags that are undefined");
        }
        let new = undefined(&step.instruction, Some(&step.registers));
        if new.result {
            return Err("a result is undefined");
        }
        flags = flags & !defines(&step.instruction) | new.flags;
        fsw |= new.fsw;
    }
    Ok(Taint { scope: Scope { rflags: !(flags & STATUS), fsw: !fsw, ..Scope::default() } })
}

fn is_approximate(instruction: &Instruction) -> bool {
    approximates(instruction.mnemonic()) || transcendental(instruction.mnemonic())
}

/// Whether all that differs are numbers that `instruction` computes approximately, and they are near each other.
fn close_enough(instruction: &Instruction, found: &[Difference]) -> bool {
    let wanted = if transcendental(instruction.mnemonic()) { "st" } else { "ymm" };
    found.iter().all(|difference| {
        let number = |text: &str| parse_wide(text);
        let (Some(left), Some(right)) = (number(&difference.left), number(&difference.right)) else { return false };
        match wanted {
            "ymm" if difference.what.starts_with("ymm") => lanes_close(left, right),
            "st" if difference.what.starts_with("st") => extended_close(left[0], right[0]),
            // The direction of rounding follows from the result.
            "st" => difference.what == "fsw" && (left[0] ^ right[0]) & !0x0200 == 0,
            _ => false,
        }
    })
}

fn parse_wide(text: &str) -> Option<[u128; 2]> {
    let digits = text.strip_prefix("0x")?;
    let (high, low) = digits.split_at(digits.len().saturating_sub(32));
    let high = if high.is_empty() { 0 } else { u128::from_str_radix(high, 16).ok()? };
    Some([u128::from_str_radix(low, 16).ok()?, high])
}

/// Both are within 1.5 * 2^-12 of the exact value, so within twice that of each other, lane by lane.
fn lanes_close(left: [u128; 2], right: [u128; 2]) -> bool {
    const BOUND: f64 = 3.0 / 4096.0;
    left.iter().zip(&right).all(|(left, right)| {
        (0..4).all(|lane| {
            let value = |v: &u128| (v >> (lane * 32)) as u32;
            let (left, right) = (value(left), value(right));
            let (a, b) = (f64::from(f32::from_bits(left)), f64::from(f32::from_bits(right)));
            left == right || (a - b).abs() <= BOUND * a.abs().max(b.abs())
        })
    })
}

/// At most two units in the last place apart: each is within one of the exact value.
fn extended_close(left: u128, right: u128) -> bool {
    left.abs_diff(right) <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Mode, Registers};
    use crate::fuzz::features;
    use crate::fuzz::layout;

    fn snippet(code: &[u8]) -> Snippet {
        let mut regions = layout::regions(false);
        regions[0].bytes[..code.len()].copy_from_slice(code);
        let registers = Registers { rip: layout::CODE, ..Registers::default() };
        Snippet { mode: Mode::Bits64, registers, regions, budget: 100 }
    }

    fn state(rflags: u64) -> FinalState {
        FinalState { end: End::Hlt, registers: Registers { rflags, ..Registers::default() }, memory: Vec::new() }
    }

    fn judge(code: &[u8], left: &FinalState, right: &FinalState) -> Verdict {
        Judge::new(Catalog::new(&features::host())).judge(&snippet(code), left, right)
    }

    #[test]
    fn only_undefined_flags_are_masked() {
        let (clear, af, cf) = (state(0x202), state(0x212), state(0x203));
        let and = [0x21, 0xc0];
        assert_eq!(judge(&and, &clear, &af), Verdict::Same);
        assert!(matches!(judge(&and, &clear, &cf), Verdict::Different(_)));
        // and eax, eax; add eax, eax: AF is defined again
        assert!(matches!(judge(&[0x21, 0xc0, 0x01, 0xc0], &clear, &af), Verdict::Different(_)));
        // and eax, eax; lahf: AF is read
        assert!(matches!(judge(&[0x21, 0xc0, 0x9f], &clear, &af), Verdict::Unjudged(_)));
        // jmp over the and: AF was not touched
        assert!(matches!(judge(&[0xeb, 0x02, 0x21, 0xc0], &clear, &af), Verdict::Different(_)));
    }

    #[test]
    fn approximations_may_differ_a_little() {
        let with = |bits: u32| {
            let mut s = state(0x202);
            s.registers.ymm[0][0] = u128::from(bits);
            s
        };
        let rcpss = [0xf3, 0x0f, 0x53, 0xc0];
        let third = (1.0_f32 / 3.0).to_bits();
        assert_eq!(judge(&rcpss, &with(third), &with(third + 500)), Verdict::Same);
        assert!(matches!(judge(&rcpss, &with(third), &with(third + 0x4000)), Verdict::Different(_)));
        assert!(matches!(judge(&[0x90], &with(third), &with(third + 1)), Verdict::Different(_)));
    }

    #[test]
    fn code_that_is_not_compared_is_not_judged() {
        let (left, right) = (state(0x202), state(0x203));
        assert!(matches!(judge(&[0x0f, 0xa2], &left, &right), Verdict::Unjudged(_)));
    }
}
