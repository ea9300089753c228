//! Which accesses of a block lie at known distances from one another: if they are near, one look into the TLB, for all the
//! bytes between the first and the last, serves them all.
//!
//! An address is a value that nothing here knows, such as that of a register at the beginning of the block, and a distance
//! from it. Fields of a structure, the slots of a stack frame and the elements that an unrolled loop visits share values.

use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, Register};

use super::access::{Access, operand_access, stack_access};
use super::facts::written_registers;
use super::recipe::is_immediate;
use super::registers::{RBP, RSP, guest_number};

/// Most windows of a block: words of the frame.
pub(super) const MOST: usize = 24;
/// Most bytes of a window: a longer one would cross pages too often.
const REACH: i64 = 256;

/// Which of an instruction's accesses is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Operand,
    Stack,
}

/// Where an access lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) window: usize,
    /// It is the first access of its window, which looks the page up.
    pub(super) leads: bool,
    /// Bytes from the window's beginning.
    pub(super) offset: u32,
    /// Bytes of the window.
    pub(super) size: u32,
}

/// The windows of a block.
#[derive(Debug, Default)]
pub(super) struct Windows {
    windows: Vec<Window>,
    /// Accesses that lie in a window: the instruction's number, the window's, the distance from its value.
    members: Vec<(usize, Part, usize, i64)>,
}

#[derive(Debug)]
struct Window {
    origin: Origin,
    write: bool,
    start: i64,
    end: i64,
    /// Distance of the first access, and what it is surely a multiple of.
    leader: i64,
    alignment: u32,
    members: usize,
}

/// What an address is a distance from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    base: u32,
    index: u32,
    scale: u32,
    segment: Register,
}

/// What is known of a register: a value by number, and a distance from it.
#[derive(Clone, Copy)]
struct Value {
    number: u32,
    distance: i64,
}

/// Number of the value 0.
const ZERO: u32 = u32::MAX;

struct Registers {
    values: [Value; 16],
    next: u32,
}

impl Registers {
    fn new() -> Self {
        Self { values: std::array::from_fn(|i| Value { number: i as u32, distance: 0 }), next: 16 }
    }

    fn forget(&mut self, guest: usize) {
        self.values[guest & 15] = Value { number: self.next, distance: 0 };
        self.next += 1;
    }

    fn move_by(&mut self, guest: usize, distance: i64) {
        let value = &mut self.values[guest & 15];
        value.distance = value.distance.wrapping_add(distance);
    }

    fn get(&self, register: Register) -> Option<Value> {
        match register {
            Register::None | Register::RIP => Some(Value { number: ZERO, distance: 0 }),
            _ if register.is_gpr64() => Some(self.values[guest_number(register)]),
            _ => None,
        }
    }

    /// The address of a memory operand, if it is 64 bits wide.
    fn address(&self, instruction: &Instruction) -> Option<(Origin, i64)> {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        if base == Register::None && index == Register::None && instruction.memory_displ_size() != 8 {
            return None;
        }
        let (base, index) = (self.get(base)?, self.get(index)?);
        let segment = match instruction.memory_segment() {
            segment @ (Register::FS | Register::GS) => segment,
            _ => Register::None,
        };
        let scale = if index.number == ZERO { 1 } else { instruction.memory_index_scale() };
        let distance = (instruction.memory_displacement64() as i64)
            .wrapping_add(base.distance)
            .wrapping_add(index.distance.wrapping_mul(i64::from(scale)));
        Some((Origin { base: base.number, index: index.number, scale, segment }, distance))
    }

    /// What is known behind `instruction`.
    fn step(&mut self, instruction: &Instruction, infos: &mut InstructionInfoFactory) {
        let first = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Add | Mnemonic::Sub if first.is_gpr64() && is_immediate(instruction.op1_kind()) => {
                let immediate = instruction.immediate(1) as i64;
                let distance =
                    if instruction.mnemonic() == Mnemonic::Add { immediate } else { immediate.wrapping_neg() };
                return self.move_by(guest_number(first), distance);
            }
            Mnemonic::Inc if first.is_gpr64() => return self.move_by(guest_number(first), 1),
            Mnemonic::Dec if first.is_gpr64() => return self.move_by(guest_number(first), -1),
            Mnemonic::Mov if first.is_gpr64() && instruction.op1_register().is_gpr64() => {
                self.values[guest_number(first)] = self.values[guest_number(instruction.op1_register())];
                return;
            }
            Mnemonic::Lea if first.is_gpr64() => {
                if let Some((Origin { base, index: ZERO, .. }, distance)) = self.address(instruction) {
                    self.values[guest_number(first)] = Value { number: base, distance };
                    return;
                }
            }
            _ => {}
        }
        let stack = match instruction.code() {
            Code::Push_r64 | Code::Pushq_imm8 | Code::Pushq_imm32 => Some(-8),
            Code::Pop_r64 if first != Register::RSP => Some(8),
            Code::Leaveq => {
                self.values[RSP] = self.values[RBP];
                Some(8)
            }
            _ => None,
        };
        if let Some(distance) = stack {
            self.move_by(RSP, distance);
        }
        let mut written = written_registers(instruction, infos);
        if stack.is_some() {
            written &= !(1 << RSP);
        }
        (0..16).filter(|guest| written >> guest & 1 != 0).for_each(|guest| self.forget(guest));
    }
}

impl Windows {
    /// The windows of a block.
    pub(super) fn of(instructions: &[Instruction], infos: &mut InstructionInfoFactory) -> Self {
        let mut windows = Self::default();
        let mut registers = Registers::new();
        for (i, instruction) in instructions.iter().enumerate() {
            if let Some(access) = operand_access(instruction, infos)
                && let Some((origin, distance)) = registers.address(instruction)
            {
                windows.enter((i, Part::Operand), access, origin, distance);
            }
            if let Some((base, displacement, access)) = stack_access(instruction) {
                let value = registers.values[base];
                let origin = Origin { base: value.number, index: ZERO, scale: 1, segment: Register::None };
                let distance = value.distance.wrapping_add(displacement.into());
                windows.enter((i, Part::Stack), access, origin, distance);
            }
            registers.step(instruction, infos);
        }
        windows
    }

    fn enter(&mut self, (instruction, part): (usize, Part), access: Access, origin: Origin, distance: i64) {
        let end = distance.wrapping_add(access.size.into());
        let number = match self.windows.iter().rposition(|window| window.takes(access, origin, distance)) {
            Some(number) => {
                self.windows[number].extend(distance, end);
                number
            }
            None if self.windows.len() < MOST => {
                let alignment = if access.aligned { access.size } else { 1 };
                let (start, leader) = (distance, distance);
                let window = Window { origin, write: access.write, start, end, leader, alignment, members: 1 };
                self.windows.push(window);
                self.windows.len() - 1
            }
            None => return,
        };
        self.members.push((instruction, part, number, distance));
    }

    /// Where an access of instruction number `instruction` lies, if it shares a window with others.
    pub(super) fn place(&self, instruction: usize, part: Part) -> Option<Place> {
        let &(_, _, number, distance) =
            self.members.iter().find(|member| (member.0, member.1) == (instruction, part))?;
        let window = self.windows.get(number).filter(|window| window.members > 1)?;
        let leads =
            self.members.iter().find(|member| member.2 == number).map(|m| (m.0, m.1)) == Some((instruction, part));
        let offset = distance.wrapping_sub(window.start) as u32;
        Some(Place { window: number, leads, offset, size: window.end.wrapping_sub(window.start) as u32 })
    }
}

impl Window {
    /// Makes room for one more access. What the first must be aligned to, the beginning is as well.
    fn extend(&mut self, start: i64, end: i64) {
        let before = self.leader.wrapping_sub(self.start.min(start)) as u64;
        self.start = self.leader.wrapping_sub(before.next_multiple_of(self.alignment.into()) as i64);
        self.end = self.end.max(end);
        self.members += 1;
    }

    /// Whether an access may share this window.
    fn takes(&self, access: Access, origin: Origin, distance: i64) -> bool {
        let from_leader = distance.wrapping_sub(self.leader);
        if origin != self.origin || access.write && !self.write || from_leader.unsigned_abs() > REACH as u64 {
            return false;
        }
        // No sum overflows from here on but by wrapping, near the ends of the address space.
        let end = distance.wrapping_add(access.size.into());
        let (first, last) = (self.start.min(distance), self.end.max(end));
        let near = self.start <= self.end && distance <= end && last.wrapping_sub(first) <= REACH && first <= last;
        let aligned = !access.aligned || self.alignment >= access.size && from_leader % i64::from(access.size) == 0;
        near && aligned
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn windows(bytes: &[u8]) -> Windows {
        let block: Vec<_> = Decoder::new(64, bytes, DecoderOptions::NONE).iter().collect();
        Windows::of(&block, &mut InstructionInfoFactory::new())
    }

    #[test]
    fn fields_of_a_structure_share_a_window() {
        // mov rax, [rdi+16]; mov rcx, [rdi+8]; mov rdx, [rdi+32]
        let windows = windows(&[0x48, 0x8b, 0x47, 0x10, 0x48, 0x8b, 0x4f, 0x08, 0x48, 0x8b, 0x57, 0x20]);
        let place = |i| windows.place(i, Part::Operand).unwrap();
        assert_eq!(place(0), Place { window: 0, leads: true, offset: 8, size: 32 });
        assert_eq!(place(1), Place { window: 0, leads: false, offset: 0, size: 32 });
        assert_eq!(place(2), Place { window: 0, leads: false, offset: 24, size: 32 });
    }

    #[test]
    fn a_register_may_move_by_what_is_known() {
        // mov rax, [rdi]; add rdi, 8; mov rax, [rdi]; mov rdi, rdx; mov rax, [rdi]
        let windows =
            windows(&[0x48, 0x8b, 0x07, 0x48, 0x83, 0xc7, 0x08, 0x48, 0x8b, 0x07, 0x48, 0x89, 0xd7, 0x48, 0x8b, 0x07]);
        assert_eq!(windows.place(0, Part::Operand).unwrap().size, 16);
        assert_eq!(windows.place(2, Part::Operand).unwrap().offset, 8);
        assert_eq!(windows.place(4, Part::Operand), None);
    }

    #[test]
    fn a_load_changes_its_register() {
        // mov rdi, [rdi]; mov rdi, [rdi]
        let windows = windows(&[0x48, 0x8b, 0x3f, 0x48, 0x8b, 0x3f]);
        assert_eq!((windows.place(0, Part::Operand), windows.place(1, Part::Operand)), (None, None));
    }

    #[test]
    fn pushes_and_pops_share_windows_but_no_store_joins_loads() {
        // push rbx; push rbp; pop rbp; pop rbx; ret
        let windows = windows(&[0x53, 0x55, 0x5d, 0x5b, 0xc3]);
        let place = |i| windows.place(i, Part::Stack);
        assert_eq!(place(0), Some(Place { window: 0, leads: true, offset: 8, size: 24 }));
        assert_eq!(place(1).map(|place| place.offset), Some(0));
        assert_eq!(place(3).map(|place| (place.window, place.offset)), Some((0, 8)));
        assert_eq!(place(4).map(|place| (place.window, place.offset)), Some((0, 16)));
        // mov rax, [rdi]; mov [rdi], rax
        let windows = super::tests::windows(&[0x48, 0x8b, 0x07, 0x48, 0x89, 0x07]);
        assert_eq!((windows.place(0, Part::Operand), windows.place(1, Part::Operand)), (None, None));
    }

    #[test]
    fn what_must_be_aligned_joins_what_is() {
        // movaps xmm0, [rdi]; movaps xmm1, [rdi+16]; movaps xmm2, [rdi+40]
        let windows = windows(&[0x0f, 0x28, 0x07, 0x0f, 0x28, 0x4f, 0x10, 0x0f, 0x28, 0x57, 0x28]);
        assert!(windows.place(1, Part::Operand).is_some());
        assert_eq!(windows.place(2, Part::Operand), None);
    }

    #[test]
    fn distant_accesses_do_not_share_and_the_ends_of_the_address_space_do_no_harm() {
        // mov rax, [rdi]; mov rax, [rdi+0x1000]
        let windows = windows(&[0x48, 0x8b, 0x07, 0x48, 0x8b, 0x87, 0, 0x10, 0, 0]);
        assert_eq!(windows.place(1, Part::Operand), None);
        // mov rax, [0x7ffffffffffffffc]; mov rax, [0x8000000000000000]
        let windows = super::tests::windows(&[
            0x48, 0xa1, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x48, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0x80,
        ]);
        assert_eq!(windows.place(1, Part::Operand), None);
    }
}
