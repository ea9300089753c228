//! String instructions on addresses that ascend: the host's own, on as many elements as lie in the pages of the first.
//! The interpreter does the rest of a repetition, and everything if addresses descend.

use iced_x86::{Code, ConditionCode, Instruction, MemoryOperand, Mnemonic, OpKind, Register};

use super::access::Access;
use super::asm::{NotEncodable, field};
use super::frame;
use super::lowering::{Emit, Flags, Lowering, Reason};
use super::registers::{ADDRESS, RAX, RCX, RDI, RSI, home, sized, slot};

/// What a string instruction does.
struct Elements {
    /// It reads at RSI.
    source: bool,
    /// It reads or writes at RDI.
    destination: bool,
    /// It writes at RDI.
    writes: bool,
    /// It works on the accumulator.
    accumulator: bool,
    /// It sets flags, and a repetition looks at them.
    compares: bool,
    /// Bytes of an element.
    size: u32,
}

impl Elements {
    /// What `instruction` does, if it is of the kind with 64-bit addresses without segments.
    fn of(instruction: &Instruction) -> Option<Self> {
        use Mnemonic as M;
        let (source, destination, writes, accumulator, compares) = match instruction.mnemonic() {
            M::Movsb | M::Movsw | M::Movsd | M::Movsq => (true, true, true, false, false),
            M::Stosb | M::Stosw | M::Stosd | M::Stosq => (false, true, true, true, false),
            M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => (true, false, false, true, false),
            M::Scasb | M::Scasw | M::Scasd | M::Scasq => (false, true, false, true, true),
            M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => (true, true, false, false, true),
            _ => return None,
        };
        let plain = (0..instruction.op_count()).all(|i| match instruction.op_kind(i) {
            OpKind::MemorySegRSI => !matches!(instruction.memory_segment(), Register::FS | Register::GS),
            OpKind::MemoryESRDI | OpKind::Register => true,
            _ => false,
        });
        let size = instruction.memory_size().size() as u32;
        plain.then_some(Self { source, destination, writes, accumulator, compares, size })
    }

    fn at_source(&self) -> Access {
        Access { size: self.size, write: false, aligned: false }
    }

    fn at_destination(&self) -> Access {
        Access { size: self.size, write: self.writes, aligned: false }
    }

    /// The guest registers with addresses that it uses.
    fn pointers(&self) -> impl Iterator<Item = (usize, Register)> {
        let source = self.source.then_some((RSI, Register::RSI));
        source.into_iter().chain(self.destination.then_some((RDI, Register::RDI)))
    }
}

impl Lowering<'_> {
    /// Translates a string instruction; false if it is none. `last` says that it is the last of its block.
    pub(super) fn string(&mut self, instruction: &Instruction, last: bool) -> Emit<bool> {
        if !instruction.is_string_instruction() {
            return Ok(false);
        }
        let elements = Elements::of(instruction).ok_or(NotEncodable)?;
        let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        self.flags_to_frame()?;
        self.spoil_flags()?;
        self.account()?;
        match (repeats, elements.compares) {
            (true, _) if last && (elements.destination) => self.repetition(instruction, &elements)?,
            (false, false) => self.element(&elements)?,
            _ => return Err(NotEncodable),
        }
        self.flags = Flags::IN_FRAME;
        Ok(true)
    }

    /// The host address of the element at a guest register, in ADDRESS.
    fn look_up_element(&mut self, pointer: Register, access: Access) -> Emit {
        let address = MemoryOperand::with_base(pointer);
        self.look_up(access, access.size, |lowering| lowering.asm.rm(Code::Lea_r64_m, ADDRESS, address))
    }

    /// MOVS, STOS or LODS of one element.
    fn element(&mut self, elements: &Elements) -> Emit {
        self.asm.mi(Code::Cmp_rm64_imm8, field(frame::DIRECTION), 0)?;
        let step = self.stub(Reason::Step, self.rip, 0);
        self.asm.jump_if(ConditionCode::ne, step);
        let (load, store, like) = match elements.size {
            1 => (Code::Mov_r8_rm8, Code::Mov_rm8_r8, Register::AL),
            2 => (Code::Mov_r16_rm16, Code::Mov_rm16_r16, Register::AX),
            4 => (Code::Mov_r32_rm32, Code::Mov_rm32_r32, Register::EAX),
            _ => (Code::Mov_r64_rm64, Code::Mov_rm64_r64, Register::RAX),
        };
        let element = MemoryOperand::with_base(ADDRESS);
        let accumulator = home(0).ok_or(NotEncodable)?;
        if elements.source {
            self.look_up_element(Register::RSI, elements.at_source())?;
            if elements.accumulator {
                self.asm.rm(load, sized(accumulator, like), element)?;
            } else {
                self.asm.rm(load, sized(RAX, like), element)?;
                self.asm.mr(Code::Mov_rm64_r64, field(frame::TARGET), RAX)?;
            }
        }
        if elements.destination {
            self.look_up_element(Register::RDI, elements.at_destination())?;
            if !elements.accumulator {
                self.asm.rm(Code::Mov_r64_rm64, RAX, field(frame::TARGET))?;
            }
            let value = if elements.accumulator { accumulator } else { RAX };
            self.asm.mr(store, element, sized(value, like))?;
        }
        for (_, pointer) in elements.pointers() {
            let next = MemoryOperand::with_base_displ(pointer, elements.size.into());
            self.asm.rm(Code::Lea_r64_m, pointer, next)?;
        }
        Ok(())
    }

    /// A repetition, as far as the pages of the first elements go. The places of RCX, RSI and RDI in the frame are free.
    fn repetition(&mut self, instruction: &Instruction, elements: &Elements) -> Emit {
        let (alone, number) = self.stub_alone();
        let done = self.asm.label();
        self.asm.rr(Code::Test_rm64_r64, Register::RCX, Register::RCX)?;
        self.asm.jump_if(ConditionCode::e, done);
        self.asm.mi(Code::Cmp_rm64_imm8, field(frame::DIRECTION), 0)?;
        self.asm.jump_if(ConditionCode::ne, alone);
        if elements.source {
            self.look_up_element(Register::RSI, elements.at_source())?;
            self.asm.mr(Code::Mov_rm64_r64, field(frame::TARGET), ADDRESS)?;
        }
        self.look_up_element(Register::RDI, elements.at_destination())?;
        self.asm.mr(Code::Mov_rm64_r64, field(slot(RCX)), Register::RCX)?;
        for (_, pointer) in elements.pointers() {
            // The elements from there to the end of the page, of which the first is one.
            self.asm.rr(Code::Mov_r32_rm32, Register::EAX, pointer.full_register32())?;
            self.asm.ri(Code::Or_rm32_imm32, Register::EAX, -0x1000)?;
            self.asm.r(Code::Neg_rm32, Register::EAX)?;
            self.asm.ri(Code::Shr_rm32_imm8, Register::EAX, elements.size.trailing_zeros() as i32)?;
            self.asm.rr(Code::Cmp_r64_rm64, Register::RCX, RAX)?;
            self.asm.rr(Code::Cmova_r64_rm64, Register::RCX, RAX)?;
        }
        self.asm.mr(Code::Sub_rm64_r64, field(slot(RCX)), Register::RCX)?;
        for (guest, pointer) in elements.pointers() {
            self.asm.mr(Code::Mov_rm64_r64, field(slot(guest)), pointer)?;
        }
        if elements.source {
            self.asm.rm(Code::Mov_r64_rm64, Register::RSI, field(frame::TARGET))?;
        }
        self.asm.rr(Code::Mov_r64_rm64, Register::RDI, ADDRESS)?;
        if elements.accumulator {
            self.asm.rr(Code::Mov_r64_rm64, RAX, home(0).ok_or(NotEncodable)?)?;
        }
        let mut host = *instruction;
        host.set_segment_prefix(Register::None);
        self.asm.instruction(&host)?;
        if elements.compares {
            self.save_flags()?;
        }
        if elements.source {
            self.asm.rm(Code::Sub_r64_rm64, Register::RSI, field(frame::TARGET))?;
        }
        self.asm.rr(Code::Sub_r64_rm64, Register::RDI, ADDRESS)?;
        for (guest, pointer) in elements.pointers() {
            self.asm.rm(Code::Add_r64_rm64, pointer, field(slot(guest)))?;
        }
        self.asm.rm(Code::Add_r64_rm64, Register::RCX, field(slot(RCX)))?;
        if elements.compares {
            self.asm.jump_if(ConditionCode::e, done);
            self.asm.mi(Code::Test_rm8_imm8, field(frame::FLAGS + 1), ZF)?;
            let goes_on = if instruction.has_repne_prefix() { ConditionCode::e } else { ConditionCode::ne };
            self.asm.jump_if(goes_on, alone);
        } else {
            self.asm.jump_if(ConditionCode::ne, alone);
        }
        self.asm.bind(done);
        self.resume_alone(number);
        Ok(())
    }
}

/// ZF as LAHF leaves it.
const ZF: i32 = 0x40;
