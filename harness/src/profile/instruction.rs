//! What is known of an instruction from its bytes: its class, the registers and the memory that it uses.

use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, UsedMemory,
};

use super::class::Class;

/// Numbers of the first vector register and of the flags: 0 to 15 are general, 16 to 47 are vectors.
const VECTORS: u8 = 16;
const FLAGS: u8 = 48;
/// Number of all x87 and MMX registers together.
const STACK: u8 = 49;

/// How many numbers there are.
pub(super) const REGISTERS: usize = 50;

/// RSP's number.
const RSP: u8 = 4;

/// One memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operand {
    base: Option<u8>,
    index: Option<u8>,
    scale: u64,
    displacement: u64,
    /// Number of the segment register.
    segment: Option<u8>,
    /// Bits of the address that count.
    mask: u64,
    /// How much it accesses.
    pub(super) bytes: u64,
    pub(super) load: bool,
    pub(super) store: bool,
}

impl Operand {
    /// Its linear address.
    pub(super) fn address(&self, registers: &[u64; 16], bases: &[u64; 6]) -> u64 {
        let register = |number: Option<u8>| number.and_then(|n| registers.get(usize::from(n))).copied().unwrap_or(0);
        let offset = register(self.base)
            .wrapping_add(register(self.index).wrapping_mul(self.scale))
            .wrapping_add(self.displacement);
        let base = self.segment.and_then(|n| bases.get(usize::from(n))).copied().unwrap_or(0);
        (offset & self.mask).wrapping_add(base)
    }
}

/// A string instruction that repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Bytes of an element.
    pub(super) size: u64,
    /// Whether it reads at RSI.
    pub(super) source: bool,
    /// Whether it accesses what lies at RDI, and whether it writes there.
    pub(super) destination: Option<bool>,
}

/// Translations that an instruction drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drops {
    Nothing,
    /// Those of the page of its operand.
    Page,
    All,
}

/// An instruction.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Its bytes.
    pub(super) bytes: Box<[u8]>,
    /// Bits of the code.
    pub(super) bits: u32,
    pub(super) class: Class,
    /// Cycles from its operands to its result.
    pub(super) latency: u64,
    /// Cycles for which it keeps other divisions and roots from their unit; 0 if it needs another one.
    pub(super) divides: u64,
    /// Numbers that a floating-point operation computes besides the first.
    pub(super) lanes: u64,
    /// Whether it accesses 16 bytes at once.
    pub(super) wide: bool,
    /// Registers that the addresses of its operands need, by number.
    pub(super) addressing: Box<[u8]>,
    /// Registers that its operation needs.
    pub(super) reads: Box<[u8]>,
    /// Registers that it changes.
    pub(super) writes: Box<[u8]>,
    /// Whether it only loads: what it needs is its address, and it computes nothing.
    pub(super) plain_load: bool,
    /// Its memory operands; none if it repeats.
    pub(super) operands: Box<[Operand]>,
    pub(super) repeated: Option<Repeated>,
    pub(super) drops: Drops,
    /// How often it was executed, until it is hot.
    pub(super) executed: u32,
}

impl Known {
    /// The instruction that these bytes begin with, at `rip`; `None` where they are none.
    pub(super) fn of(bytes: &[u8], bits: u32, rip: u64, factory: &mut InstructionInfoFactory) -> Option<Self> {
        if !matches!(bits, 16 | 32 | 64) {
            return None;
        }
        let ins = Decoder::with_ip(bits, bytes, rip, DecoderOptions::NONE).decode();
        if ins.is_invalid() {
            return None;
        }
        let info = factory.info(&ins);
        let class = Class::of(&ins);
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        // Processors keep track of the stack pointer in the decoder, so that pushes do not wait for one another.
        let stack = ins.is_stack_instruction();
        for used in info.used_registers() {
            let Some(number) = number(used.register()).filter(|n| !stack || *n != RSP) else { continue };
            let access = used.access();
            if reads_of(access) {
                add(&mut reads, number);
            }
            if writes_of(access) {
                add(&mut writes, number);
            }
        }
        if ins.rflags_read() != 0 {
            add(&mut reads, FLAGS);
        }
        if ins.rflags_modified() != 0 {
            add(&mut writes, FLAGS);
        }
        let repeated = repeated(&ins);
        let operands: Vec<Operand> = match repeated {
            Some(_) => Vec::new(),
            None if ins.mnemonic() == Mnemonic::Invlpg => vec![operand(&named(&ins))],
            None => info.used_memory().iter().map(operand).collect(),
        };
        let mut addressing = Vec::new();
        operands.iter().flat_map(|o| [o.base, o.index]).flatten().for_each(|number| add(&mut addressing, number));
        // A load begins when its address is there, whatever else the operation waits for.
        let named = |i: u32| {
            let register = (ins.op_kind(i) == OpKind::Register).then(|| ins.op_register(i));
            register.filter(|_| reads_of(info.op_access(i))).and_then(number)
        };
        let explicit: Vec<u8> = (0..ins.op_count()).filter_map(named).collect();
        reads.retain(|number| !addressing.contains(number) || explicit.contains(number));
        let plain_load = reads.is_empty()
            && matches!(class, Class::Integer | Class::Vector)
            && operands.iter().any(|operand| operand.load);
        let drops = match ins.mnemonic() {
            Mnemonic::Mov if ins.op0_register() == Register::CR3 => Drops::All,
            Mnemonic::Invlpg => Drops::Page,
            _ => Drops::Nothing,
        };
        Some(Self {
            bytes: bytes.get(..ins.len())?.into(),
            bits,
            class,
            latency: latency(class, &ins),
            divides: divides(class, &ins),
            lanes: lanes(class, &ins),
            wide: ins.memory_size().size() >= 16,
            addressing: addressing.into(),
            reads: reads.into(),
            plain_load,
            writes: writes.into(),
            operands: operands.into(),
            repeated,
            drops,
            executed: 0,
        })
    }
}

fn add(numbers: &mut Vec<u8>, number: u8) {
    if !numbers.contains(&number) {
        numbers.push(number);
    }
}

fn reads_of(access: OpAccess) -> bool {
    matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

fn writes_of(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// The number of a register; `None` for those that nobody waits for.
fn number(register: Register) -> Option<u8> {
    if register.is_gpr() {
        u8::try_from(register.full_register().number()).ok()
    } else if register.is_vector_register() {
        u8::try_from(register.number()).ok().map(|n| VECTORS + n).filter(|n| *n < FLAGS)
    } else if register.is_st() || register.is_mm() {
        Some(STACK)
    } else {
        None
    }
}

/// The number of a segment register, in the order of the encoding.
fn segment(register: Register) -> Option<u8> {
    (register as u32).checked_sub(Register::ES as u32).and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 6)
}

fn operand(used: &UsedMemory) -> Operand {
    let (load, store) = (reads_of(used.access()), writes_of(used.access()));
    let register = |register: Register| number(register).filter(|n| *n < 16);
    let mask = match used.address_size() {
        iced_x86::CodeSize::Code16 => 0xffff,
        iced_x86::CodeSize::Code32 => 0xffff_ffff,
        _ => u64::MAX,
    };
    Operand {
        base: register(used.base()),
        index: register(used.index()),
        scale: u64::from(used.scale()),
        displacement: used.displacement(),
        segment: segment(used.segment()),
        mask,
        bytes: used.memory_size().size() as u64,
        load,
        store,
    }
}

/// The memory that an instruction names without accessing it.
fn named(ins: &Instruction) -> UsedMemory {
    UsedMemory::new2(
        ins.memory_segment(),
        ins.memory_base(),
        ins.memory_index(),
        ins.memory_index_scale(),
        ins.memory_displacement64(),
        ins.memory_size(),
        OpAccess::NoMemAccess,
        iced_x86::CodeSize::Code64,
        0,
    )
}

fn repeated(ins: &Instruction) -> Option<Repeated> {
    use Mnemonic as M;
    if !ins.is_string_instruction() || !(ins.has_rep_prefix() || ins.has_repne_prefix()) {
        return None;
    }
    let (source, destination) = match ins.mnemonic() {
        M::Movsb | M::Movsw | M::Movsd | M::Movsq => (true, Some(true)),
        M::Stosb | M::Stosw | M::Stosd | M::Stosq | M::Insb | M::Insw | M::Insd => (false, Some(true)),
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => (false, Some(false)),
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => (true, Some(false)),
        _ => (true, None),
    };
    Some(Repeated { size: ins.memory_size().size() as u64, source, destination })
}

/// Cycles of an operation whose operands are there (AMD Zen 3; Fog, "Instruction tables", 2022).
fn latency(class: Class, ins: &Instruction) -> u64 {
    let wide = (0..ins.op_count()).any(|i| ins.op_register(i).is_gpr64()) || ins.memory_size().size() == 8;
    match class {
        // A move between registers only renames.
        Class::Integer | Class::Vector if is_move(ins) => 0,
        Class::Multiply | Class::Float => 3,
        Class::Divide => 10 + if wide { 4 } else { 0 },
        Class::FloatDivide if is_double_root(ins) => 20,
        Class::FloatDivide => 13,
        Class::X87 => 5,
        _ => 1,
    }
}

/// Cycles for which the unit that divides takes nothing else (the same).
fn divides(class: Class, ins: &Instruction) -> u64 {
    match class {
        Class::Divide => 7,
        Class::FloatDivide if is_double_root(ins) => 9,
        Class::FloatDivide => 5,
        _ => 0,
    }
}

fn is_double_root(ins: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(ins.mnemonic(), M::Sqrtsd | M::Sqrtpd | M::Vsqrtsd | M::Vsqrtpd)
}

/// Numbers that a floating-point operation computes besides the first.
fn lanes(class: Class, ins: &Instruction) -> u64 {
    if !matches!(class, Class::Float | Class::FloatDivide) {
        return 0;
    }
    let name = format!("{:?}", ins.mnemonic());
    match name.get(name.len().saturating_sub(2)..) {
        Some("pd") => 1,
        Some("ps") => 3,
        _ => 0,
    }
}

/// Whether it moves between registers, which only renames.
fn is_move(ins: &Instruction) -> bool {
    use Mnemonic as M;
    let registers = (0..2).all(|i| ins.op_kind(i) == OpKind::Register);
    let named =
        matches!(ins.mnemonic(), M::Mov | M::Movaps | M::Movapd | M::Movups | M::Movupd | M::Movdqa | M::Movdqu);
    let renamed = ins.op0_register().is_gpr32() || ins.op0_register().is_gpr64() || ins.op0_register().is_xmm();
    named && ins.op_count() == 2 && registers && renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bytes: &[u8]) -> Known {
        Known::of(bytes, 64, 0x1000, &mut InstructionInfoFactory::new()).expect("an instruction")
    }

    #[test]
    fn operands_have_addresses() {
        // add [rbx+rcx*4+8], eax
        let add = known(&[0x01, 0x44, 0x8b, 0x08]);
        let mut registers = [0; 16];
        (registers[3], registers[1]) = (0x1000, 0x10);
        let [operand] = add.operands[..] else { panic!("{add:?}") };
        assert_eq!(operand.address(&registers, &[0; 6]), 0x1048);
        assert!(operand.load && operand.store);
        assert_eq!((&*add.addressing, &*add.reads, &*add.writes), (&[3, 1][..], &[0][..], &[FLAGS][..]));
        // mov rax, gs:[8]
        let gs = known(&[0x65, 0x48, 0x8b, 0x04, 0x25, 8, 0, 0, 0]);
        assert_eq!(gs.operands[0].address(&registers, &[0, 0, 0, 0, 0, 0x7000]), 0x7008);
        // mov rax, [rip+0x10]
        let relative = known(&[0x48, 0x8b, 0x05, 0x10, 0, 0, 0]);
        assert_eq!(relative.operands[0].address(&registers, &[0; 6]), 0x1017);
    }

    #[test]
    fn packed_operations_compute_several_numbers() {
        let lanes = |bytes: &[u8]| known(bytes).lanes;
        assert_eq!(lanes(&[0xf2, 0x0f, 0x58, 0xc1]), 0, "addsd");
        assert_eq!(lanes(&[0x66, 0x0f, 0x58, 0xc1]), 1, "addpd");
        assert_eq!(lanes(&[0x0f, 0x58, 0xc1]), 3, "addps");
        assert_eq!(lanes(&[0x66, 0x0f, 0x28, 0xc1]), 0, "movapd computes nothing");
        assert!(known(&[0x0f, 0x28, 0x03]).wide && !known(&[0x48, 0x8b, 0x03]).wide);
    }

    #[test]
    fn the_stack_is_memory_and_its_pointer_no_dependence() {
        let push = known(&[0x53]);
        let mut registers = [0; 16];
        registers[4] = 0x8000;
        assert_eq!(push.operands[0].address(&registers, &[0; 6]), 0x7ff8);
        assert!(push.operands[0].store && !push.operands[0].load);
        assert_eq!((&*push.reads, &*push.writes), (&[3][..], &[][..]));
    }

    #[test]
    fn a_cleared_register_needs_nothing() {
        let xor = known(&[0x31, 0xc0]);
        assert!(xor.reads.is_empty() && xor.writes.contains(&0), "{xor:?}");
    }

    #[test]
    fn repetitions_are_no_operands() {
        let movs = known(&[0xf3, 0x48, 0xa5]);
        assert_eq!(movs.repeated, Some(Repeated { size: 8, source: true, destination: Some(true) }));
        assert!(movs.operands.is_empty());
        assert_eq!(known(&[0xf2, 0xae]).repeated.map(|r| (r.size, r.destination)), Some((1, Some(false))));
        assert_eq!(known(&[0xa4]).operands.len(), 2, "one element is two accesses");
    }

    #[test]
    fn a_dropped_translation_has_a_page() {
        let invlpg = known(&[0x0f, 0x01, 0x3b]); // invlpg [rbx]
        let mut registers = [0; 16];
        registers[3] = 0x5000;
        assert_eq!(invlpg.drops, Drops::Page);
        assert_eq!(invlpg.operands[0].address(&registers, &[0; 6]), 0x5000);
        assert!(!invlpg.operands[0].load && !invlpg.operands[0].store);
        assert_eq!(known(&[0x0f, 0x22, 0xd8]).drops, Drops::All);
    }

    #[test]
    fn what_is_no_instruction_is_not_known() {
        let mut factory = InstructionInfoFactory::new();
        assert!(Known::of(&[], 64, 0, &mut factory).is_none());
        assert!(Known::of(&[0x06], 64, 0, &mut factory).is_none());
        assert!(Known::of(&[0x90], 48, 0, &mut factory).is_none());
    }
}
