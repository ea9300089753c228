//! Which memory an instruction is about to access, by the registers before it.

use emu_min::{Cpu, Segment, State};
use iced_x86::{Instruction, InstructionInfoFactory, OpAccess, Register, UsedMemory};

use super::MemLine;
use crate::walk::Hex;

/// Most bytes whose value is told.
const SHOWN: usize = 32;

/// One load or store of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) address: u64,
    /// Bytes of one element.
    pub(super) size: u64,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// It is repeated, downwards if so.
    repeated: Option<Downwards>,
    /// What was there before.
    old: Option<Vec<u8>>,
}

/// Whether a string instruction goes towards lower addresses.
type Downwards = bool;

/// RFLAGS.DF.
const DF: u64 = 1 << 10;

/// The accesses of an instruction. Not told are those of gathers, of instructions whose size depends on what is enabled
/// (XSAVE and the like), and of the processor itself.
pub(super) fn accesses(instruction: &Instruction, cpu: &Cpu, state: &State) -> Vec<Access> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let repeated = is_repeated(instruction).then_some(state.rflags & DF != 0);
    let bits = cpu.code_bits();
    let used = info.used_memory().iter().filter(|used| used.vsib_size() == 0);
    used.filter_map(|used| access(used, instruction, repeated, state, bits))
        .map(|access| Access { old: peek(cpu, access.address, access.size), ..access })
        .collect()
}

fn is_repeated(instruction: &Instruction) -> bool {
    instruction.is_string_instruction() && (instruction.has_rep_prefix() || instruction.has_repne_prefix())
}

fn access(
    used: &UsedMemory,
    instruction: &Instruction,
    repeated: Option<Downwards>,
    state: &State,
    bits: u32,
) -> Option<Access> {
    let (reads, writes) = match used.access() {
        OpAccess::Read | OpAccess::CondRead => (true, false),
        OpAccess::Write | OpAccess::CondWrite => (false, true),
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
        OpAccess::None | OpAccess::NoMemAccess => return None,
    };
    // Of a repetition the size of all is unknown, and that of an element the instruction's.
    let size = match (used.memory_size().size(), repeated) {
        (0, Some(_)) => instruction.memory_size().size(),
        (size, _) => size,
    };
    let address = used.virtual_address(0, |register, _, _| register_value(register, state, bits))?;
    (size > 0).then_some(Access { address, size: size as u64, reads, writes, repeated, old: None })
}

/// A register, or the base of a segment.
fn register_value(register: Register, state: &State, bits: u32) -> Option<u64> {
    if register.is_segment_register() {
        let segment: &Segment = match register {
            Register::ES => &state.es,
            Register::CS => &state.cs,
            Register::SS => &state.ss,
            Register::DS => &state.ds,
            Register::FS => &state.fs,
            _ => &state.gs,
        };
        let flat = bits == 64 && !matches!(register, Register::FS | Register::GS);
        return Some(if flat { 0 } else { segment.base });
    }
    if !register.is_gpr() {
        return None;
    }
    let value = state.gprs.get(register.full_register().number()).copied()?;
    match register.size() {
        8 => Some(value),
        4 => Some(value & 0xffff_ffff),
        2 => Some(value & 0xffff),
        _ => None,
    }
}

fn peek(cpu: &Cpu, address: u64, size: u64) -> Option<Vec<u8>> {
    let size = usize::try_from(size).ok().filter(|&size| size <= SHOWN)?;
    let mut bytes = vec![0; size];
    (cpu.read_virtual(address, &mut bytes) == size).then_some(bytes)
}

/// Little-endian bytes as a number.
fn number(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

impl Access {
    /// What became of it. Of a repetition, by how many elements it went on.
    pub(super) fn line(self, n: u64, cpu: &Cpu, elements: u64) -> Option<MemLine> {
        let access = match (self.reads, self.writes) {
            (true, true) => "read-write",
            (true, false) => "read",
            _ => "write",
        };
        let (address, size) = match self.repeated {
            None => (self.address, self.size),
            Some(_) if elements == 0 => return None,
            Some(false) => (self.address, self.size.saturating_mul(elements)),
            Some(true) => {
                (self.address.wrapping_sub((elements - 1).wrapping_mul(self.size)), self.size.saturating_mul(elements))
            }
        };
        let single = self.repeated.is_none() || elements == 1;
        let read = self.old.filter(|_| self.reads && single);
        let written = peek(cpu, address, size).filter(|_| self.writes);
        let (read, written) = (read.as_deref().map(number), written.as_deref().map(number));
        Some(MemLine { n, access, address: Hex(address), size, read, written })
    }
}

#[cfg(test)]
mod tests {
    use emu_min::{Config, GuestRam};
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    const CODE: u64 = 0x1000;
    const DATA: u64 = 0x2000;
    const STACK: u64 = 0x3000;

    /// A CPU in 64-bit mode with 1 MiB mapped to itself, at `code`.
    fn cpu(code: &[u8]) -> Cpu {
        let ram = GuestRam::allocate(1 << 20);
        for (at, entry) in [(0x8000, 0x9007), (0x9000, 0xa007), (0xa000, 0x87)] {
            assert!(ram.write_u64(at, entry));
        }
        assert!(ram.write(CODE, code) && ram.write_u64(DATA, 0x1122_3344_5566_7788));
        let mut cpu = Cpu::new(ram, Config::default());
        let mut state = State::long_mode(CODE, STACK, 0x8000, 0);
        state.gprs[3] = DATA; // rbx
        (state.gprs[6], state.gprs[7], state.gprs[1]) = (DATA, DATA + 0x100, 4); // rsi, rdi, rcx
        cpu.set_state(&state);
        cpu
    }

    /// Kind, address, size, what was read and what was written.
    type Seen = (&'static str, u64, u64, Option<String>, Option<String>);

    /// The accesses of one instruction, after it was executed.
    fn lines(code: &[u8]) -> Vec<Seen> {
        let mut cpu = cpu(code);
        let instruction = Decoder::with_ip(64, code, CODE, DecoderOptions::NONE).decode();
        let state = cpu.state();
        let accesses = accesses(&instruction, &cpu, &state);
        assert_eq!(cpu.single_step(), None);
        let elements = state.gprs[1] - cpu.state().gprs[1];
        let lines = accesses.into_iter().filter_map(|access| access.line(0, &cpu, elements));
        lines.map(|line| (line.access, line.address.0, line.size, line.read, line.written)).collect()
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn loads_stores_and_both_are_told_apart() {
        assert_eq!(lines(&[0x8b, 0x03]), [("read", DATA, 4, text("0x55667788"), None)]); // mov eax, [rbx]
        assert_eq!(lines(&[0x88, 0x43, 0x01]), [("write", DATA + 1, 1, None, text("0x0"))]); // mov [rbx+1], al
        let both = [("read-write", DATA, 8, text("0x1122334455667788"), text("0x1122334455667789"))];
        assert_eq!(lines(&[0x48, 0xff, 0x03]), both); // inc qword [rbx]
        assert_eq!(lines(&[0x53]), [("write", STACK - 8, 8, None, text("0x2000"))]); // push rbx
        assert_eq!(lines(&[0x48, 0x8d, 0x03]), []); // lea rax, [rbx]
        assert_eq!(lines(&[0x48, 0x01, 0xd8]), []); // add rax, rbx
    }

    #[test]
    fn a_repetition_is_one_access_of_all_its_elements() {
        let mut seen = lines(&[0xf3, 0xa4]); // rep movsb
        seen.sort_unstable();
        let to = ("write", DATA + 0x100, 4, None, text("0x55667788"));
        assert_eq!(seen, [("read", DATA, 4, None, None), to]);
        let one = lines(&[0xa4]); // movsb
        assert!(one.contains(&("read", DATA, 1, text("0x88"), None)), "{one:?}");
    }
}
