//! Where processors are known to differ, or the manuals leave a choice, in how an instruction ends.

use iced_x86::{Code, CodeSize, Instruction, Mnemonic, OpKind, Register};

use super::trace::Step;
use crate::exec::{End, FinalState, MemoryChange};

/// The trap flag of RFLAGS.
const TF: u64 = 1 << 8;

/// Whether the exception that ended `state` was raised by `step`.
pub(super) fn faulted_at(state: &FinalState, step: &Step) -> bool {
    matches!(state.end, End::Exception(_)) && step.instruction.ip() == state.registers.rip
}

/// Images of state that processors read and write in pieces of their own choice.
fn is_image(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 | M::Fnstenv | M::Fldenv | M::Fnsave | M::Frstor
    )
}

/// Instructions that make several accesses.
fn makes_several_accesses(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let mnemonic = instruction.mnemonic();
    let listed = matches!(
        mnemonic,
        M::Retf | M::Iret | M::Iretd | M::Iretq | M::Pusha | M::Pushad | M::Popa | M::Popad | M::Enter | M::Bound
    );
    let pointer = matches!(mnemonic, M::Les | M::Lds | M::Lss | M::Lfs | M::Lgs);
    let far = instruction.is_jmp_far_indirect() || instruction.is_call_far_indirect() || instruction.is_call_far();
    listed || pointer || far || is_image(mnemonic)
}

/// String instructions that access memory at both SI and DI.
fn has_two_operands(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(mnemonic, M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq | M::Movsb | M::Movsw | M::Movsd | M::Movsq)
}

/// Takes over the address of a page fault if the instruction makes several accesses, or a long one, and both engines name
/// a byte of them: in which order a processor makes them is not defined (SDM volume 3, 6.15, interrupt 14: CR2 holds "the
/// linear address that generated the exception").
pub(super) fn align_fault_address(instruction: &Instruction, left: &FinalState, right: &mut FinalState) {
    const LONGEST: u64 = 512;
    if let (End::Exception(a), End::Exception(b)) = (left.end, &mut right.end)
        && let (Some(first), Some(second)) = (a.address, b.address)
    {
        let near = a.error_code == b.error_code && first.abs_diff(second) < LONGEST;
        if has_two_operands(instruction.mnemonic()) || near && makes_several_accesses(instruction) {
            *b = a;
        }
    }
}

/// Why nothing can be said about how the instruction that raised an exception ended.
pub(super) fn disputed(last: &Step, left: &FinalState, right: &FinalState) -> Option<&'static str> {
    use Mnemonic as M;
    let mnemonic = last.instruction.mnemonic();
    let fault = |state: &FinalState| match state.end {
        End::Exception(exception) => Some(exception),
        _ => None,
    };
    // Neither is FNSAVE, which may have stored some of its pieces.
    if is_image(mnemonic) && fault(left).is_some() && fault(right).is_some() {
        return Some("an operand in several pieces may fault at any of them");
    }
    // POPA is not atomic on AMD processors: registers before the slot that faults are popped already.
    if matches!(mnemonic, M::Popa | M::Popad) && fault(left).is_some() && fault(right).is_some() {
        return Some("a POPA that faults may have popped some registers");
    }
    if left.end == right.end && left.registers.rip == right.registers.rip {
        return None;
    }
    // SDM volume 1, 10.2.3 and 11.6.6: which bits of MXCSR are reserved is for the processor to say (MXCSR_MASK).
    if matches!(mnemonic, M::Ldmxcsr | M::Vldmxcsr | M::Fxrstor | M::Fxrstor64) {
        return Some("processors differ in which bits of MXCSR are reserved");
    }
    // SDM MASKMOVDQU, MASKMOVQ: where the mask is 0 "exceptions associated with addressing memory may still be signaled
    // (implementation dependent)".
    if matches!(mnemonic, M::Maskmovdqu | M::Maskmovq | M::Vmaskmovdqu) {
        return Some("a masked store may fault for bytes that it does not store");
    }
    // SDM SHA1MSG1 and its kin: exceptions of type 4, so #GP for an operand that is not aligned to 16 bytes. AMD's
    // processors (seen on families 19H) do not ask for it.
    if is_sha(mnemonic) && operand_addresses(last).iter().any(|address| address & 15 != 0) {
        return Some("processors differ in whether operands of SHA instructions must be aligned");
    }
    // SDM VPGATHERDD: "If such a load instruction faults, traps or interrupts pending from an already gathered element are
    // delivered in lieu of the exception".
    if is_gather(mnemonic) && last.registers.rflags & TF != 0 {
        return Some("a gather that faults may deliver the trap of an element before instead");
    }
    if runs_over_the_limit(last) {
        return Some("an access that runs over the end of a 4-GiB segment may fault or not");
    }
    if has_non_canonical_offset(last) {
        return Some("processors differ about a non-canonical offset to which the segment base is added");
    }
    let (left, right) = (fault(left)?, fault(right)?);
    if has_two_operands(mnemonic) {
        return Some("either operand of a string instruction may fault first");
    }
    // SDM RET, IRET check the selector before they read the outer stack pointer; AMD processors read it first.
    if matches!(mnemonic, M::Retf | M::Iret | M::Iretd | M::Iretq) {
        return Some("processors check a far return in different orders");
    }
    if makes_several_accesses(&last.instruction) {
        return Some("an operand in several pieces may fault at any of them");
    }
    // How much of an undefined instruction is fetched before it raises #UD is not defined.
    let cut_off =
        [left, right].iter().any(|fault| fault.vector == 14 && fault.error_code.is_some_and(|e| e & 0x10 != 0));
    let incomplete = last.instruction.code() == Code::INVALID;
    if incomplete && is_xop(&last.bytes) && matches!((left.vector, right.vector), (6, 13) | (13, 6)) {
        return Some("processors with XOP find an instruction too long that others find undefined");
    }
    if incomplete && is_refused_vex(&last.bytes) && matches!((left.vector, right.vector), (6, 13) | (13, 6)) {
        return Some("an instruction that is too long and undefined may raise either exception");
    }
    (cut_off && incomplete).then_some("an undefined instruction may be fetched in part")
}

/// Whether bytes are a VEX prefix behind one of those that it refuses (SDM volume 2, 2.3.2 to 2.3.4: #UD). Which comes
/// first where the instruction is longer than 15 bytes too (SDM volume 3, 6.15, interrupt 13), no manual says.
fn is_refused_vex(bytes: &[u8]) -> bool {
    let segment_or_size = |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67);
    let refused = |byte: &&u8| matches!(byte, 0x40..=0x4f | 0x66 | 0xf0 | 0xf2 | 0xf3);
    let is_prefix = |byte: &&u8| segment_or_size(byte) || refused(byte);
    let prefixes = bytes.iter().take_while(is_prefix);
    let opcode = bytes.iter().find(|byte| !is_prefix(byte));
    prefixes.into_iter().any(|byte| refused(&byte)) && matches!(opcode, Some(0xc4 | 0xc5))
}

/// Whether bytes are, behind prefixes, in the space of AMD's XOP (APM volume 3, 1.8.1): 8FH and a map from 8 on, which
/// make the instruction longer where they are known, even if it is undefined.
fn is_xop(bytes: &[u8]) -> bool {
    let is_prefix =
        |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let mut opcode = bytes.iter().skip_while(|byte| is_prefix(byte));
    opcode.next() == Some(&0x8f) && opcode.next().is_none_or(|map| map & 0x1f >= 8)
}

/// Whether an operand of 32-bit code may reach beyond offset FFFFFFFFH (SDM volume 3, 5.3: "these accesses may or may not
/// cause the indicated exceptions. Behavior is implementation-specific and may vary from one execution to another").
fn runs_over_the_limit(step: &Step) -> bool {
    /// The longest operand: FXSAVE's.
    const LONGEST: u64 = 512;
    let base = match step.instruction.memory_segment() {
        Register::FS => step.registers.fs_base,
        Register::GS => step.registers.gs_base,
        _ => 0,
    };
    step.instruction.code_size() == CodeSize::Code32
        && operand_addresses(step).iter().any(|linear| linear.wrapping_sub(base) & 0xffff_ffff > 0xffff_ffff - LONGEST)
}

/// Whether an offset of an operand in FS or GS is not canonical, or the operand runs over the highest offset, before the
/// base is added. The linear address may be: then Intel processors make the access (SDM volume 1, 3.3.7.1 speaks of linear
/// addresses), AMD processors raise #GP.
fn has_non_canonical_offset(step: &Step) -> bool {
    let canonical = |address: u64| ((address << 16) as i64 >> 16) as u64 == address;
    let base = match step.instruction.memory_segment() {
        Register::FS => step.registers.fs_base,
        Register::GS => step.registers.gs_base,
        _ => return false,
    };
    let size = step.instruction.memory_size().size().max(1) as u64;
    operand_addresses(step).iter().any(|linear| {
        let offset = linear.wrapping_sub(base);
        !canonical(offset) || offset.checked_add(size - 1).is_none_or(|last| !canonical(last))
    })
}

/// Memory that holds what only describes the processor: MXCSR_MASK in the images of FXSAVE (SDM volume 1, 11.6.6).
pub(super) fn processor_specific(steps: &[Step]) -> Vec<(u64, u64)> {
    let saves =
        steps.iter().filter(|step| matches!(step.instruction.mnemonic(), Mnemonic::Fxsave | Mnemonic::Fxsave64));
    saves.flat_map(operand_addresses).map(|address| (address.wrapping_add(28), 4)).collect()
}

fn is_sha(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Sha1msg1 | M::Sha1msg2 | M::Sha1nexte | M::Sha1rnds4 | M::Sha256msg1 | M::Sha256msg2 | M::Sha256rnds2
    )
}

fn is_gather(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Vpgatherdd
            | M::Vpgatherdq
            | M::Vpgatherqd
            | M::Vpgatherqq
            | M::Vgatherdps
            | M::Vgatherdpd
            | M::Vgatherqps
            | M::Vgatherqpd
    )
}

/// Linear addresses of the memory operand: one, but for gathers, whose every element has its own, whether it is loaded
/// or not.
fn operand_addresses(step: &Step) -> Vec<u64> {
    let elements = if is_gather(step.instruction.mnemonic()) { 8 } else { 1 };
    (0..elements).filter_map(|element| operand_address(step, element)).collect()
}

/// Linear address of the memory operand, or of the part of a bit string that BT and its kin access.
fn operand_address(step: &Step, element: usize) -> Option<u64> {
    let instruction = &step.instruction;
    let is_memory = |kind| {
        use OpKind as K;
        matches!(
            kind,
            K::Memory | K::MemorySegSI | K::MemorySegESI | K::MemorySegRSI | K::MemorySegEDI | K::MemorySegRDI
        )
    };
    let operand = (0..instruction.op_count()).find(|&i| is_memory(instruction.op_kind(i)))?;
    let wraps = instruction.code_size() == CodeSize::Code32;
    let value = |register: Register| {
        let number = (register.full_register() as usize).wrapping_sub(Register::RAX as usize);
        let value = *step.registers.gprs.get(number)?;
        Some(if register.size() == 8 { value } else { value & ((1 << (register.size() * 8)) - 1) })
    };
    let address = instruction.virtual_address(operand, element, |register, element, size| {
        Some(match register {
            _ if register.is_vector_register() => {
                let halves = step.registers.ymm.get(register.number())?;
                let bit = element * size * 8;
                (halves.get(bit / 128)? >> (bit % 128)) as u64 & (u64::MAX >> (64 - size * 8))
            }
            Register::FS => step.registers.fs_base,
            Register::GS => step.registers.gs_base,
            _ if register.is_segment_register() => 0,
            _ => value(register)?,
        })
    })?;
    let bit = match instruction.mnemonic() {
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc if instruction.op1_kind() == OpKind::Register => {
            let register = instruction.op1_register();
            let unused = 64 - register.size() * 8;
            let number = (value(register)? << unused) as i64 >> unused;
            number.div_euclid(register.size() as i64 * 8) * register.size() as i64
        }
        _ => 0,
    };
    let address = address.wrapping_add(bit as u64);
    Some(if wraps { address & 0xffff_ffff } else { address })
}

/// Drops what is known of `[address, address + len)` from the changes of memory.
pub(super) fn forget(state: &mut FinalState, address: u64, len: u64) {
    let mut kept: Vec<MemoryChange> = Vec::new();
    for change in state.memory.drain(..) {
        for (byte, at) in change.bytes.into_iter().zip(change.address..) {
            if at.wrapping_sub(address) < len {
                continue;
            }
            match kept.last_mut() {
                Some(last) if last.address + last.bytes.len() as u64 == at => last.bytes.push(byte),
                _ => kept.push(MemoryChange { address: at, bytes: vec![byte] }),
            }
        }
    }
    state.memory = kept;
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;
    use crate::exec::{Exception, Registers};

    fn step(bytes: &[u8], registers: Registers) -> Step {
        let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        Step { instruction, bytes: bytes.to_vec(), registers }
    }

    fn fault(vector: u8, error: u32, address: u64) -> FinalState {
        let end = End::Exception(Exception::new(vector, error, address));
        FinalState { end, registers: Registers::default(), memory: Vec::new() }
    }

    #[test]
    fn the_order_of_accesses_is_forgiven_only_where_there_are_several() {
        let (left, mut right) = (fault(14, 4, 0x1ff), fault(14, 4, 0));
        let fxrstor = step(&[0x0f, 0xae, 0x0b], Registers::default());
        align_fault_address(&fxrstor.instruction, &left, &mut right);
        assert_eq!(left.end, right.end);
        let mut right = fault(14, 4, 0);
        let mov = step(&[0x8b, 0x03], Registers::default());
        align_fault_address(&mov.instruction, &left, &mut right);
        assert_ne!(left.end, right.end);
        let cmpsb = step(&[0xa6], Registers::default());
        align_fault_address(&cmpsb.instruction, &left, &mut right);
        assert_eq!(left.end, right.end);
    }

    #[test]
    fn an_offset_that_only_its_base_makes_canonical_is_disputed() {
        let mut registers = Registers { fs_base: 0x2000_0000, ..Registers::default() };
        registers.gprs[3] = 0xffff_7fff_f000_0000;
        let code = [0x64, 0x8b, 0x03]; // mov eax, fs:[rbx]
        let (left, right) = (fault(13, 0, 0), fault(14, 5, 0xffff_8000_1000_0000));
        assert!(disputed(&step(&code, registers.clone()), &left, &right).is_some());
        registers.gprs[3] = 0;
        assert_eq!(disputed(&step(&code, registers.clone()), &left, &right), None);
        // The bit number counts: btr fs:[rbx], eax.
        let code = [0x64, 0x0f, 0xb3, 0x03];
        registers.gprs[3] = 0xffff_8000_0000_0003;
        assert_eq!(disputed(&step(&code, registers.clone()), &left, &right), None);
        registers.gprs[0] = 0xfe07_e24d;
        assert!(disputed(&step(&code, registers), &left, &right).is_some());
    }

    #[test]
    fn only_32_bit_operands_near_the_end_of_the_segment_may_run_over_it() {
        let at = |offset: u64, bits: u32| {
            let mut registers = Registers::default();
            registers.gprs[3] = offset;
            let bytes = [0x8b, 0x03]; // mov eax, [ebx]
            let instruction = Decoder::new(bits, &bytes, DecoderOptions::NONE).decode();
            runs_over_the_limit(&Step { instruction, bytes: bytes.to_vec(), registers })
        };
        assert!(at(0xffff_fffe, 32));
        assert!(!at(0xffff_f000, 32));
        assert!(!at(0xffff_fffe, 64));
    }

    #[test]
    fn only_the_space_of_xop_may_be_too_long_or_undefined() {
        let (left, right) = (fault(13, 0, 0), fault(6, 0, 0));
        let disputed = |bytes: &[u8]| disputed(&step(bytes, Registers::default()), &left, &right);
        assert!(disputed(&[0x49, 0x66, 0x66, 0x8f, 0x2a, 0x0c, 0x85, 0xa3, 0, 0, 0, 0, 0, 0, 0]).is_some());
        assert_eq!(disputed(&[0x0f, 0x04, 0x8f]), None);
        assert_eq!(disputed(&[0x66, 0x8f, 0xc0]), None); // pop
    }

    #[test]
    fn forgotten_bytes_split_a_change() {
        let mut state = fault(6, 0, 0);
        state.memory = vec![MemoryChange { address: 0x100, bytes: vec![1, 2, 3, 4, 5] }];
        forget(&mut state, 0x102, 2);
        let expected = [(0x100, vec![1, 2]), (0x104, vec![5])];
        let expected = expected.map(|(address, bytes)| MemoryChange { address, bytes });
        assert_eq!(state.memory, expected);
    }
}
