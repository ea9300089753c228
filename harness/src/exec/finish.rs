//! What all engines do alike with the exception that ended a snippet.

use iced_x86::{Code, Decoder, DecoderOptions};

use super::end::{End, Exception};
use super::memory::MemoryChange;
use super::registers::Registers;
use super::runner::FinalState;
use super::snippet::{Mode, Snippet};

/// Vector of the general-protection exception.
const GP: u8 = 13;
/// RFLAGS.RF, which the processor sets in the image it saves at a fault.
const RF: u64 = 1 << 16;

/// The final state after `exception`: `hlt`, which faults in ring 3, is the end that snippets are written for.
pub(crate) fn finish(
    snippet: &Snippet,
    mut registers: Registers,
    memory: Vec<MemoryChange>,
    exception: Exception,
) -> FinalState {
    let mut end = End::Exception(exception);
    if exception.vector == GP
        && exception.error_code == Some(0)
        && let Some(len) = hlt_length(snippet, &memory, registers.rip)
    {
        end = End::Hlt;
        registers.rip = registers.rip.wrapping_add(len);
        registers.rflags &= !RF;
    }
    if snippet.mode == Mode::Bits32 || registers.selectors[1] != Mode::Bits64.code_selector() {
        // What 32-bit code leaves in the upper halves and in R8 to R15 is undefined (Intel SDM volume 1, 3.4.1.1).
        for (i, gpr) in registers.gprs.iter_mut().enumerate() {
            if i < 8 {
                *gpr &= 0xffff_ffff;
            } else if snippet.mode == Mode::Bits32 {
                *gpr = snippet.registers.gprs[i];
            }
        }
        registers.rip &= 0xffff_ffff;
    }
    for selector in &mut registers.selectors {
        // A return to ring 3, such as the native engine's to its signal handler, clears null selectors altogether
        // (Intel SDM volume 2, IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL).
        if *selector < 4 {
            *selector = 0;
        }
    }
    FinalState { end, registers, memory }
}

/// Length of the `hlt` at `rip`, if there is one.
fn hlt_length(snippet: &Snippet, changes: &[MemoryChange], rip: u64) -> Option<u64> {
    let bytes = final_bytes(snippet, changes, rip, 15);
    let instruction = Decoder::with_ip(snippet.mode.bits(), &bytes, rip, DecoderOptions::NONE).decode();
    (instruction.code() == Code::Hlt).then_some(instruction.len() as u64)
}

/// Up to `len` bytes at `address` as execution left them; fewer if the memory ends.
pub(crate) fn final_bytes(snippet: &Snippet, changes: &[MemoryChange], address: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = address.wrapping_add(bytes.len() as u64);
        let Some(rest) = snippet.regions.iter().find_map(|region| region.at(at)) else { break };
        bytes.extend_from_slice(rest.get(..len - bytes.len()).unwrap_or(rest));
    }
    for change in changes {
        for (i, &byte) in change.bytes.iter().enumerate() {
            let offset = (change.address + i as u64).wrapping_sub(address);
            if let Some(place) = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset)) {
                *place = byte;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Access, Region};

    fn snippet(code: &[u8]) -> Snippet {
        let mut bytes = vec![0; 0x1000];
        bytes[..code.len()].copy_from_slice(code);
        Snippet {
            mode: Mode::Bits64,
            registers: Registers { rip: 0x1000, ..Registers::default() },
            regions: vec![Region { address: 0x1000, bytes, access: Access::RX }],
            budget: 1,
        }
    }

    #[test]
    fn only_a_hlt_turns_a_general_protection_exception_into_the_end() {
        let gp = Exception::new(13, 0, 0);
        let at = |s: &Snippet| finish(s, s.registers.clone(), Vec::new(), gp);
        let hlt = at(&snippet(&[0xf4]));
        assert_eq!((hlt.end, hlt.registers.rip), (End::Hlt, 0x1001));
        assert_eq!(at(&snippet(&[0x66, 0xf4])).registers.rip, 0x1002);
        assert_eq!(at(&snippet(&[0xfa])).end, End::Exception(gp));
        let written = vec![MemoryChange { address: 0x1000, bytes: vec![0xf4] }];
        let s = snippet(&[0x90]);
        assert_eq!(finish(&s, s.registers.clone(), written, gp).end, End::Hlt);
    }

    #[test]
    fn the_upper_halves_do_not_count_in_32_bit_mode() {
        let mut s = snippet(&[0xf4]);
        s.mode = Mode::Bits32;
        let mut left = s.registers.clone();
        left.gprs = [u64::MAX; 16];
        left.selectors[1] = Mode::Bits32.code_selector();
        let state = finish(&s, left, Vec::new(), Exception::new(13, 0, 0));
        assert_eq!((state.registers.gprs[7], state.registers.gprs[8]), (0xffff_ffff, 0));
    }
}
