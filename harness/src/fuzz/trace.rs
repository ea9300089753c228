//! Which instructions a snippet executes, and with what registers: emu-min stopped after each.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::exec::{EmuRunner, End, FinalState, Registers, Runner, Snippet, final_bytes};

/// Most steps that are traced.
const MAX_STEPS: u64 = 64;

/// One executed instruction.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) instruction: Instruction,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// The registers before it.
    pub(super) registers: Registers,
}

/// The instructions that `snippet` executes on `emulator`, the last one included that raises an exception; `None` if they
/// are too many.
pub(super) fn trace(emulator: &mut EmuRunner, snippet: &Snippet) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut snippet = snippet.clone();
    let limit = snippet.budget.min(MAX_STEPS);
    for budget in 0..limit {
        snippet.budget = budget;
        let Ok(FinalState { end, registers, memory }) = emulator.run(&snippet) else { return Some(steps) };
        if end != End::Budget {
            return Some(steps);
        }
        let bytes = final_bytes(&snippet, &memory, registers.rip, 15);
        let mut decoder = Decoder::with_ip(snippet.mode.bits(), &bytes, registers.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let bytes = bytes.get(..instruction.len()).unwrap_or(&bytes).to_vec();
        steps.push(Step { instruction, bytes, registers });
    }
    None
}
