//! The state of a translation as it goes from instruction to instruction: where the flags are, what was accounted for,
//! and which exits must still be written.

use std::collections::HashMap;

use iced_x86::{Code, ConditionCode, Instruction, InstructionInfoFactory, MemoryOperand, OpKind, Register};

use super::access::Access;
use super::asm::{Asm, Label, NotEncodable, field};
use super::frame;
use super::recipe::{Recipe, is_immediate};
use super::registers::{ADDRESS, RAX, guest_number, home, sized, slot};
use super::snippets::Snippets;
use super::windows::Windows;

pub(super) type Emit<T = ()> = Result<T, NotEncodable>;

/// Which copies of the guest's flags are good. At least one is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flags {
    /// The host's own.
    pub(super) host: bool,
    /// The frame's.
    pub(super) frame: bool,
    /// They can be computed again.
    pub(super) recipe: Option<Recipe>,
}

impl Flags {
    /// As regions are entered from outside.
    pub(super) const IN_FRAME: Self = Self { host: false, frame: true, recipe: None };

    /// As blocks are entered from within their region.
    pub(super) fn in_host(recipe: Option<Recipe>) -> Self {
        Self { host: true, frame: false, recipe }
    }
}

/// What an exit asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reason {
    /// To go on at `rip`, by a jump that can be made direct.
    Goto,
    /// To go on at the address in the frame; the instruction is complete, and `undo` takes its change of RSP back.
    Indirect { undo: i32 },
    /// A translation for the address in the frame; code at `resume` tries again.
    /// `window` says that there are several accesses in one, which may cross pages though none of them does.
    Miss { access: Access, alignment: u32, resume: u32, window: bool },
    /// To do the block's rest with accesses apart: a window crosses pages. A jump that can be made direct.
    Crossed,
    /// To let the interpreter go on.
    Step,
    /// To let the interpreter execute some instructions, and to go on with code at `resume` behind them.
    Alone { number: u32, resume: u32 },
}

/// Instructions of a block, one after another, that are left to the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alone {
    pub(super) rip: u64,
    pub(super) count: u32,
}

/// An exit whose code comes behind that of the region.
pub(super) struct Stub {
    pub(super) label: Label,
    pub(super) reason: Reason,
    pub(super) rip: u64,
    pub(super) flags: Flags,
    /// Instructions executed minus those accounted for, of the block.
    pub(super) adjust: i32,
}

/// An exit, as the dispatcher sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    pub(super) reason: Reason,
    pub(super) rip: u64,
    pub(super) adjust: i32,
    /// Where the generation and the displacement of the direct jump are, in the area of host code.
    pub(super) link: Option<Link>,
}

/// The places of a direct jump that wait to be filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) generation: u32,
    pub(super) displacement: u32,
}

/// A place in a translation that can be gone back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    position: usize,
    flags: Flags,
    stubs: usize,
    exits: usize,
    accounted: Option<usize>,
}

/// A translation in progress.
pub(super) struct Lowering<'a> {
    pub(super) asm: &'a mut Asm,
    pub(super) infos: &'a mut InstructionInfoFactory,
    pub(super) flags: Flags,
    pub(super) stubs: Vec<Stub>,
    /// Which of the TLB's tables its accesses look into: see [`super::inline_tlb`].
    pub(super) table: usize,
    /// AVX is on.
    pub(super) avx: bool,
    pub(super) snippets: &'a Snippets,
    /// Regions may jump to one another.
    pub(super) chain: bool,
    /// Blocks of the region by address, where code of it enters them.
    pub(super) inside: HashMap<u64, Label>,
    /// What the exits mean, by number.
    pub(super) exits: &'a mut Vec<Exit>,
    /// What is left to the interpreter, numbered from `first_alone` on.
    pub(super) alone: &'a mut Vec<Alone>,
    pub(super) first_alone: u32,
    /// Where code leaves to, with the number of the exit in the frame.
    pub(super) leave: usize,
    /// Offset in the frame of the table for indirect branches, if they are to be looked up in line.
    pub(super) jumps: Option<usize>,
    /// Address of the instruction being translated.
    pub(super) rip: u64,
    /// Instructions of the block before it.
    pub(super) executed: u32,
    /// Where the number of accounted instructions is to be filled in, once it has been emitted.
    pub(super) accounted: Option<usize>,
    /// Stubs of this block begin here.
    pub(super) block_stubs: usize,
    /// Accesses of the block that share a look into the TLB.
    pub(super) windows: Windows,
    /// Windows whose page was looked up, a bit each.
    pub(super) ready: u32,
    /// Number of the instruction in its block.
    pub(super) number: usize,
}

impl Lowering<'_> {
    /// Begins a block.
    pub(super) fn begin_block(&mut self, flags: Flags) {
        self.flags = flags;
        self.executed = 0;
        self.accounted = None;
        self.ready = 0;
        self.asm.forget_address();
        self.block_stubs = self.stubs.len();
    }

    /// What [`Self::go_back`] restores.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            position: self.asm.position(),
            flags: self.flags,
            stubs: self.stubs.len(),
            exits: self.exits.len(),
            accounted: self.accounted,
        }
    }

    /// Takes back what was emitted since the mark.
    pub(super) fn go_back(&mut self, mark: Mark) {
        self.asm.rewind(mark.position);
        self.flags = mark.flags;
        self.stubs.truncate(mark.stubs);
        self.exits.truncate(mark.exits);
        self.accounted = mark.accounted;
    }

    /// Ends a block of `count` instructions.
    pub(super) fn end_block(&mut self, count: u32) {
        if let Some(at) = self.accounted {
            self.asm.patch32(at, count);
        }
        for stub in self.stubs.iter_mut().skip(self.block_stubs) {
            // Those that were made after the accounting are marked by a bias.
            if stub.adjust >= ACCOUNTED {
                stub.adjust -= ACCOUNTED + count as i32;
            }
        }
    }

    /// A stub for an exit at this instruction, of which `executed` (0 or 1) of its own counts.
    pub(super) fn stub(&mut self, reason: Reason, rip: u64, executed: u32) -> Label {
        let label = self.asm.label();
        let accounted = if self.accounted.is_some() { ACCOUNTED } else { 0 };
        let adjust = (self.executed + executed) as i32 + accounted;
        self.stubs.push(Stub { label, reason, rip, flags: self.flags, adjust });
        label
    }

    /// Counts the block's instructions, if it has not been done, and leaves if the run loop wants to look around. Spoils
    /// the host's flags.
    pub(super) fn account(&mut self) -> Emit {
        if self.accounted.is_some() {
            return Ok(());
        }
        self.spoil_flags()?;
        self.asm.mi(Code::Sub_rm64_imm32, field(frame::LEFT), 0x7fff_ffff)?;
        self.accounted = Some(self.asm.position() - 4);
        let stub = self.stub(Reason::Step, self.rip, 0);
        self.asm.jump_if(ConditionCode::s, stub);
        Ok(())
    }

    /// The host's flags are about to be spoiled: sees to it that another copy is good.
    pub(super) fn spoil_flags(&mut self) -> Emit {
        if !self.flags.frame && self.flags.recipe.is_none() {
            self.save_flags()?;
        }
        self.flags.host = false;
        Ok(())
    }

    /// Makes the frame's copy good.
    pub(super) fn flags_to_frame(&mut self) -> Emit {
        if self.flags.frame {
            return Ok(());
        }
        self.flags_to_host()?;
        self.save_flags()
    }

    /// Saves the host's flags, which are good.
    pub(super) fn save_flags(&mut self) -> Emit {
        self.asm.plain(Code::Lahf)?;
        self.asm.r(Code::Seto_rm8, Register::AL)?;
        self.asm.mr(Code::Mov_rm16_r16, field(frame::FLAGS), Register::AX)?;
        self.flags.frame = true;
        Ok(())
    }

    /// Makes the host's copy good. Spoils RAX, and ADDRESS too if only a recipe is good.
    pub(super) fn flags_to_host(&mut self) -> Emit {
        if self.flags.host {
            return Ok(());
        }
        match self.flags.recipe {
            Some(recipe) if !self.flags.frame => self.cook(&recipe)?,
            // Behind a look into the TLB only this will do: a recipe may need the register that holds the address.
            _ => {
                self.asm.rm(Code::Movzx_r32_rm16, Register::EAX, field(frame::FLAGS))?;
                // OF is set by 1 + 7FH.
                self.asm.ri(Code::Add_rm8_imm8, Register::AL, 0x7f)?;
                self.asm.plain(Code::Sahf)?;
            }
        }
        self.flags.host = true;
        Ok(())
    }

    /// The host's flags are those of a new instruction.
    pub(super) fn flags_written(&mut self, recipe: Option<Recipe>) {
        self.flags = Flags::in_host(recipe);
    }

    /// A comparison whose flags are computed when they are wanted.
    pub(super) fn flags_put_off(&mut self, recipe: Recipe) {
        self.flags = Flags { host: false, frame: false, recipe: Some(recipe) };
    }

    /// Guest registers change: a recipe that reads them is no good any more.
    pub(super) fn registers_written(&mut self, mask: u16) {
        if self.flags.recipe.is_some_and(|recipe| recipe.registers() & mask != 0) {
            self.flags.recipe = None;
        }
    }

    /// Whether the recipe is the only good copy and a change of these guest registers would lose it.
    pub(super) fn would_lose_flags(&self, mask: u16) -> bool {
        !self.flags.frame && self.flags.recipe.is_some_and(|recipe| recipe.registers() & mask != 0)
    }

    fn cook(&mut self, recipe: &Recipe) -> Emit {
        let instruction = recipe.instruction();
        match recipe {
            Recipe::Again(_) => {
                let mut host = *instruction;
                for i in 0..instruction.op_count() {
                    if instruction.op_kind(i) == OpKind::Register {
                        let scratch = if i == 0 { RAX } else { ADDRESS };
                        let whole = self.in_register(guest_number(instruction.op_register(i)), scratch)?;
                        host.set_op_register(i, sized(whole, instruction.op_register(i)));
                    }
                }
                super::forms::generalize(&mut host);
                self.asm.instruction(&host)
            }
            Recipe::Sum(_) => {
                self.copy_of_first(instruction)?;
                self.on_copy(instruction, Operation::Sub)?;
                self.on_copy(instruction, Operation::Add)
            }
            Recipe::Difference(_) => {
                self.copy_of_first(instruction)?;
                self.on_copy(instruction, Operation::Add)?;
                self.on_copy(instruction, Operation::Sub)
            }
            Recipe::Replay(_) => {
                self.asm.rm(Code::Mov_r64_rm64, RAX, field(frame::KEPT))?;
                let mut host = *instruction;
                let first = instruction.op0_register();
                host.set_op0_register(sized(RAX, first));
                if instruction.op_count() > 1 && instruction.op1_kind() == OpKind::Register {
                    let second = guest_number(instruction.op1_register());
                    let same = second == guest_number(first);
                    let whole = if same { RAX } else { self.in_register(second, ADDRESS)? };
                    host.set_op1_register(sized(whole, first));
                }
                super::forms::generalize(&mut host);
                self.asm.instruction(&host)
            }
            Recipe::LostSum(_) => {
                let new = self.in_register(guest_number(instruction.op0_register()), ADDRESS)?;
                if new != ADDRESS {
                    self.asm.rr(Code::Mov_r64_rm64, ADDRESS, new)?;
                }
                self.asm.rm(Code::Mov_r64_rm64, RAX, field(frame::KEPT))?;
                self.asm.rr(Code::Sub_r64_rm64, ADDRESS, RAX)?;
                self.on_scratch(instruction, Operation::Add)
            }
            Recipe::LostDifference(_) => {
                let new = self.in_register(guest_number(instruction.op0_register()), RAX)?;
                self.asm.rm(Code::Mov_r64_rm64, ADDRESS, field(frame::KEPT))?;
                self.asm.rr(Code::Sub_r64_rm64, ADDRESS, new)?;
                self.asm.rm(Code::Mov_r64_rm64, RAX, field(frame::KEPT))?;
                self.on_scratch(instruction, Operation::Sub)
            }
        }
    }

    /// `operation RAX, ADDRESS` in the size of the first operand.
    fn on_scratch(&mut self, instruction: &Instruction, operation: Operation) -> Emit {
        let size = instruction.op0_register();
        self.asm.rr(operation.with_register(size.size() == 8), sized(RAX, size), sized(ADDRESS, size))
    }

    /// Keeps what a guest register is, for a recipe. Spoils RAX.
    pub(super) fn keep(&mut self, guest: usize) -> Emit {
        let register = self.in_register(guest, RAX)?;
        self.asm.mr(Code::Mov_rm64_r64, field(frame::KEPT), register)
    }

    fn copy_of_first(&mut self, instruction: &Instruction) -> Emit {
        let first = guest_number(instruction.op0_register());
        match home(first) {
            Some(register) => self.asm.rr(Code::Mov_r64_rm64, RAX, register),
            None => self.asm.rm(Code::Mov_r64_rm64, RAX, field(slot(first))),
        }
    }

    /// `operation copy, second`, where the copy of the first operand is in RAX.
    fn on_copy(&mut self, instruction: &Instruction, operation: Operation) -> Emit {
        let wide = instruction.op0_register().size() == 8;
        let copy = if wide { RAX } else { Register::EAX };
        if is_immediate(instruction.op1_kind()) {
            return self.asm.ri(operation.with_immediate(wide), copy, instruction.immediate(1) as i32);
        }
        let second = self.in_register(guest_number(instruction.op1_register()), ADDRESS)?;
        self.asm.rr(operation.with_register(wide), copy, sized(second, copy))
    }

    /// The host register with a guest register's value: its home, or `scratch`, into which it is loaded.
    pub(super) fn in_register(&mut self, guest: usize, scratch: Register) -> Emit<Register> {
        if let Some(register) = home(guest) {
            return Ok(register);
        }
        self.asm.rm(Code::Mov_r64_rm64, scratch, field(slot(guest)))?;
        Ok(scratch)
    }

    /// Gives a guest register the value in `from`.
    pub(super) fn set_guest(&mut self, guest: usize, from: Register) -> Emit {
        match home(guest) {
            Some(register) if register == from => Ok(()),
            Some(register) => self.asm.rr(Code::Mov_r64_rm64, register, from),
            None => self.asm.mr(Code::Mov_rm64_r64, field(slot(guest)), from),
        }
    }
}

/// More than a block can execute: marks exits behind the accounting until the block's length is known.
const ACCOUNTED: i32 = 1 << 16;

#[derive(Clone, Copy)]
enum Operation {
    Add,
    Sub,
}

impl Operation {
    fn with_register(self, wide: bool) -> Code {
        match (self, wide) {
            (Self::Add, true) => Code::Add_r64_rm64,
            (Self::Add, false) => Code::Add_r32_rm32,
            (Self::Sub, true) => Code::Sub_r64_rm64,
            (Self::Sub, false) => Code::Sub_r32_rm32,
        }
    }

    fn with_immediate(self, wide: bool) -> Code {
        match (self, wide) {
            (Self::Add, true) => Code::Add_rm64_imm32,
            (Self::Add, false) => Code::Add_rm32_imm32,
            (Self::Sub, true) => Code::Sub_rm64_imm32,
            (Self::Sub, false) => Code::Sub_rm32_imm32,
        }
    }
}

/// `[rsp + index + displacement]`.
pub(super) fn table(index: Register, displacement: usize) -> MemoryOperand {
    MemoryOperand::new(Register::RSP, index, 1, displacement as i64, 8, false, Register::None)
}
