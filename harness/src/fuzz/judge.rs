//! Whether two engines disagree, about what the manuals define.

use emu_min::Model;
use iced_x86::Instruction;

use super::catalog::Catalog;
use super::disputes::{align_fault_address, disputed, faulted_at, forget, processor_specific};
use super::generate::is_ambiguous;
use super::trace::{Step, trace};
use super::undefined::{STATUS, approximates, defines, reads, transcendental, undefined};
use crate::exec::{Difference, EmuRunner, End, Engine, FinalState, Scope, Snippet, differences};

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
        Self { tracer: EmuRunner::new(Engine::EmuNaive, Engine::EmuNaive.config(Model::highest())), catalog }
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
        let Some(steps) = trace(&mut self.tracer, snippet) else {
            return Verdict::Unjudged("it executes too many instructions to follow what is undefined");
        };
        if !steps.iter().all(|step| self.catalog.allows(&step.instruction)) {
            return Verdict::Unjudged("it runs into instructions that are not compared");
        }
        if steps.iter().any(|step| is_ambiguous(&step.instruction, &step.bytes, mode)) {
            return Verdict::Unjudged("processors differ in how they decode it");
        }
        // The instruction that raised the exception, if one did: what it would have written is not written.
        let last = |state| steps.iter().rposition(|step| faulted_at(state, step));
        let ends = (last(left), last(right));
        // Who faults where the other does not may have come there again, by a branch on flags that are undefined.
        if ends.0 != ends.1
            && let Err(reason) = taint(&steps)
        {
            return Verdict::Unjudged(reason);
        }
        let culprit = ends.0.into_iter().chain(ends.1).min();
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
        // Also one that faults may have copied some of it.
        let reached = &steps[..culprit.map_or(steps.len(), |at| at + 1)];
        if reached.split_last().is_some_and(|(_, before)| !processor_specific(before).is_empty()) {
            return Verdict::Unjudged("it may read what describes the processor");
        }
        if let Some(last) = steps.iter().rfind(|step| is_approximate(&step.instruction))
            && close_enough(&last.instruction, &found)
        {
            return Verdict::Same;
        }
        Verdict::Different(found)
    }
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
    use crate::exec::{Exception, Mode, Registers};
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
    fn who_comes_to_a_fault_by_undefined_flags_is_not_judged() {
        let mut faulted = state(0x202);
        faulted.end = End::Exception(Exception::new(14, 4, 0x1000));
        faulted.registers.rip = layout::CODE;
        // mul ecx; js: SF is undefined, and with it where the processor goes.
        assert!(matches!(judge(&[0xf7, 0xe1, 0x78, 0x00], &faulted, &state(0x202)), Verdict::Unjudged(_)));
        assert!(matches!(judge(&[0xf7, 0xe1, 0x70, 0x00], &faulted, &state(0x202)), Verdict::Different(_)), "jo");
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
