//! A divergence made small: fewer instructions, simpler registers and memory, while it stays a divergence.

use iced_x86::Instruction;

use super::generate::Case;
use super::layout::{CODE, CODE_REGION};
use crate::exec::{Registers, Snippet};

/// The smallest case that is found for which `differs` still holds; it must hold for `case`.
pub fn shrink(case: &Case, mut differs: impl FnMut(&Snippet) -> bool) -> Case {
    let mut best = case.clone();
    loop {
        let before = best.snippet.clone();
        drop_instructions(&mut best, &mut differs);
        move_to_front(&mut best, &mut differs);
        simplify_registers(&mut best, &mut differs);
        simplify_memory(&mut best, &mut differs);
        if best.snippet == before {
            return best;
        }
    }
}

/// `case` with other code at the same place.
fn with_code(case: &Case, code: &[u8]) -> Case {
    let mut snippet = case.snippet.clone();
    let start = (snippet.registers.rip - CODE) as usize;
    if let Some(page) = snippet.regions.get_mut(CODE_REGION) {
        page.bytes.fill(0xf4);
        let room = page.bytes.len().saturating_sub(start);
        let kept = code.len().min(room);
        page.bytes[start..start + kept].copy_from_slice(&code[..kept]);
    }
    Case::of(snippet, code.len())
}

fn drop_instructions(best: &mut Case, differs: &mut impl FnMut(&Snippet) -> bool) {
    let mut skip = 0;
    while best.code.len() > 1 && skip < best.code.len() {
        let bytes = best.bytes();
        let before: usize = best.code[..skip].iter().map(Instruction::len).sum();
        let len = best.code[skip].len();
        let rest = bytes.get(before + len..).unwrap_or_default();
        let shorter = [&bytes[..before.min(bytes.len())], rest].concat();
        let candidate = with_code(best, &shorter);
        if !shorter.is_empty() && differs(&candidate.snippet) {
            *best = candidate;
        } else {
            skip += 1;
        }
    }
}

/// Puts the code at the beginning of its page, away from the end.
fn move_to_front(best: &mut Case, differs: &mut impl FnMut(&Snippet) -> bool) {
    if best.snippet.registers.rip == CODE {
        return;
    }
    let bytes = best.bytes();
    let mut moved = best.clone();
    moved.snippet.registers.rip = CODE;
    let moved = with_code(&moved, &bytes);
    if differs(&moved.snippet) {
        *best = moved;
    }
}

fn simplify_registers(best: &mut Case, differs: &mut impl FnMut(&Snippet) -> bool) {
    let plain = Registers::default();
    let mut attempt = |best: &mut Case, change: &dyn Fn(&mut Registers)| {
        let mut snippet = best.snippet.clone();
        change(&mut snippet.registers);
        if snippet.registers != best.snippet.registers && differs(&snippet) {
            best.snippet = snippet;
        }
    };
    attempt(best, &|r| r.ymm = [[0; 2]; 16]);
    attempt(best, &|r| r.x87 = plain.x87);
    attempt(best, &|r| r.x87.st = [0; 8]);
    attempt(best, &|r| (r.fs_base, r.gs_base) = (0, 0));
    attempt(best, &|r| r.mxcsr = plain.mxcsr);
    attempt(best, &|r| r.rflags = plain.rflags);
    for bit in 0..22 {
        attempt(best, &|r| r.rflags = r.rflags & !(1 << bit) | Registers::FIXED_FLAGS);
    }
    for i in 0..16 {
        for value in [0, 1, 0x2000_0000] {
            // Never from a simpler value to a less simple one.
            attempt(best, &|r| r.gprs[i] = r.gprs[i].min(value));
        }
        attempt(best, &|r| r.ymm[i] = [0; 2]);
        attempt(best, &|r| r.ymm[i][1] = 0);
        for lane in 0..4 {
            attempt(best, &|r| r.ymm[i][0] &= !(0xffff_ffff << (lane * 32)));
        }
    }
    for i in 0..8 {
        attempt(best, &|r| r.x87.st[i] = 0);
    }
    attempt(best, &|r| r.x87.fcw = plain.x87.fcw);
    attempt(best, &|r| r.x87.fsw = 0);
    attempt(best, &|r| r.x87.fsw &= 0x3800);
    attempt(best, &|r| r.x87.ftw = 0);
    attempt(best, &|r| r.x87.ftw = if r.x87.ftw == 0 { 0 } else { 0xff });
}

/// Zeroes memory by halves: all of a region, then what of it can be.
fn simplify_memory(best: &mut Case, differs: &mut impl FnMut(&Snippet) -> bool) {
    for region in 0..best.snippet.regions.len() {
        if region == CODE_REGION {
            continue;
        }
        let len = best.snippet.regions[region].bytes.len();
        let mut spans = vec![(0, len)];
        while let Some((from, to)) = spans.pop() {
            let bytes = &best.snippet.regions[region].bytes[from..to];
            if bytes.iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut snippet = best.snippet.clone();
            snippet.regions[region].bytes[from..to].fill(0);
            if differs(&snippet) {
                best.snippet = snippet;
            } else if to - from > 4 {
                let middle = usize::midpoint(from, to);
                spans.extend([(from, middle), (middle, to)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Catalog, Generator, features};

    /// Whether the code contains `cpuid`-like marker bytes and RBX is above 100: a stand-in for a divergence.
    fn planted(snippet: &Snippet) -> bool {
        let page = &snippet.regions[CODE_REGION].bytes;
        page.windows(2).any(|pair| pair == [0x0f, 0xc8]) && snippet.registers.gprs[3] > 100
    }

    #[test]
    fn what_remains_is_the_instruction_and_the_register_that_matter() {
        let mut generator = Generator::new(1, Catalog::new(&features::host()));
        let mut case = generator.case(5);
        case.snippet.registers.gprs[3] = 0x1234_5678;
        let marker = [&[0x90, 0x01, 0xc0][..], &[0x0f, 0xc8], &[0x31, 0xc9, 0xf8]].concat();
        let case = with_code(&case, &marker);
        let small = shrink(&case, planted);
        assert_eq!(small.bytes(), [0x0f, 0xc8]);
        assert_eq!(small.snippet.registers.rip, CODE);
        let mut expected = Registers { rip: CODE, ..Registers::default() };
        expected.gprs[3] = 0x1234_5678;
        assert_eq!(small.snippet.registers, expected);
        assert!(small.snippet.regions[1..].iter().all(|region| region.bytes.iter().all(|&byte| byte == 0)));
    }

    #[test]
    fn a_case_that_cannot_be_smaller_stays() {
        let mut generator = Generator::new(1, Catalog::new(&features::host()));
        let case = generator.case(9);
        let whole = case.snippet.clone();
        assert_eq!(shrink(&case, |snippet| *snippet == whole).snippet, whole);
    }
}
