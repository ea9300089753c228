//! Emits host code: instructions through iced-x86's encoder, branches and labels by hand.

use iced_x86::{Code, ConditionCode, Encoder, IcedError, Instruction, MemoryOperand, Register};

use super::registers::ADDRESS;

/// What cannot be encoded; the translator then leaves the instruction to the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotEncodable;

impl From<IcedError> for NotEncodable {
    fn from(_: IcedError) -> Self {
        Self
    }
}

/// A place in the code that branches go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(u32);

/// A piece of code that is being made. Positions are offsets from its beginning.
pub(super) struct Asm {
    encoder: Encoder,
    code: Vec<u8>,
    labels: Vec<Option<usize>>,
    /// Branches to labels: where the 32-bit displacement is.
    fixups: Vec<(usize, Label)>,
    /// Where the piece will lie in the area of host code.
    base: usize,
    /// The window whose host address is in ADDRESS, if that is known.
    address_holds: Option<usize>,
}

/// `[rsp + displacement]`: a field of the frame.
pub(super) fn field(displacement: usize) -> MemoryOperand {
    let size = if displacement < 0x80 { 1 } else { 8 };
    MemoryOperand::with_base_displ_size(Register::RSP, displacement as i64, size)
}

impl Asm {
    pub(super) fn new() -> Self {
        Self {
            encoder: Encoder::new(64),
            code: Vec::with_capacity(4096),
            labels: Vec::new(),
            fixups: Vec::new(),
            base: 0,
            address_holds: None,
        }
    }

    /// Begins a new piece of code, which will lie at `base`.
    pub(super) fn begin(&mut self, base: usize) {
        self.base = base;
        self.code.clear();
        self.labels.clear();
        self.fixups.clear();
    }

    pub(super) fn position(&self) -> usize {
        self.code.len()
    }

    /// Where a position will be in the area of host code.
    pub(super) fn in_area(&self, position: usize) -> usize {
        self.base + position
    }

    /// Takes back what was emitted since `position`.
    pub(super) fn rewind(&mut self, position: usize) {
        self.code.truncate(position);
        self.address_holds = None;
        self.fixups.retain(|(at, _)| *at < position);
    }

    /// Emits any instruction without a relative operand.
    pub(super) fn instruction(&mut self, instruction: &Instruction) -> Result<(), NotEncodable> {
        // The encoder appends to a buffer of its own: it is lent ours.
        self.encoder.set_buffer(std::mem::take(&mut self.code));
        let start = self.encoder.encode(instruction, 0);
        if (0..instruction.op_count()).any(|i| instruction.op_register(i).full_register() == ADDRESS) {
            self.address_holds = None;
        }
        self.code = self.encoder.take_buffer();
        start.map(|_| ()).map_err(NotEncodable::from)
    }

    /// The window whose host address is in ADDRESS, if nothing has touched that since it was put there.
    pub(super) fn address_holds(&self) -> Option<usize> {
        self.address_holds
    }

    pub(super) fn set_address_holds(&mut self, window: usize) {
        self.address_holds = Some(window);
    }

    pub(super) fn forget_address(&mut self) {
        self.address_holds = None;
    }

    /// Emits code that was made before. It changes ADDRESS.
    pub(super) fn snippet(&mut self, code: &[u8]) {
        self.code.extend_from_slice(code);
        self.address_holds = None;
    }

    /// An instruction of two registers.
    pub(super) fn rr(&mut self, code: Code, a: Register, b: Register) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with2(code, a, b)?)
    }

    /// An instruction of one register.
    pub(super) fn r(&mut self, code: Code, a: Register) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with1(code, a)?)
    }

    /// An instruction of a register and an immediate.
    pub(super) fn ri(&mut self, code: Code, a: Register, value: i32) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with2(code, a, value)?)
    }

    /// An instruction of a register and memory.
    pub(super) fn rm(&mut self, code: Code, a: Register, memory: MemoryOperand) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with2(code, a, memory)?)
    }

    /// An instruction of memory and a register.
    pub(super) fn mr(&mut self, code: Code, memory: MemoryOperand, a: Register) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with2(code, memory, a)?)
    }

    /// An instruction of memory and an immediate.
    pub(super) fn mi(&mut self, code: Code, memory: MemoryOperand, value: i32) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with2(code, memory, value)?)
    }

    /// An instruction without operands.
    pub(super) fn plain(&mut self, code: Code) -> Result<(), NotEncodable> {
        self.instruction(&Instruction::with(code))
    }

    /// `mov register, value` in the shortest form.
    pub(super) fn constant(&mut self, register: Register, value: u64) -> Result<(), NotEncodable> {
        if let Ok(short) = u32::try_from(value) {
            return self.instruction(&Instruction::with2(Code::Mov_r32_imm32, register.full_register32(), short)?);
        }
        if let Ok(short) = i32::try_from(value as i64) {
            return self.ri(Code::Mov_rm64_imm32, register, short);
        }
        self.instruction(&Instruction::with2(Code::Mov_r64_imm64, register, value)?)
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// Puts a label here.
    pub(super) fn bind(&mut self, label: Label) {
        let position = self.position();
        if let Some(place) = self.labels.get_mut(label.0 as usize) {
            *place = Some(position);
        }
    }

    /// `jmp label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.code.push(0xe9);
        self.displacement(label);
    }

    /// `jcc label`.
    pub(super) fn jump_if(&mut self, condition: ConditionCode, label: Label) {
        self.code.extend([0x0f, 0x80 | number(condition)]);
        self.displacement(label);
    }

    /// `jmp` with a displacement that is patched later; returns where the displacement is.
    pub(super) fn jump_somewhere(&mut self) -> usize {
        self.code.extend([0xe9, 0, 0, 0, 0]);
        self.position() - 4
    }

    /// `jmp` to a place in the area of host code.
    pub(super) fn jump_to(&mut self, place: usize) {
        let next = self.base + self.position() + 5;
        self.code.push(0xe9);
        self.code.extend((place as i64 - next as i64).to_le_bytes().iter().take(4));
    }

    fn displacement(&mut self, label: Label) {
        self.fixups.push((self.position(), label));
        self.code.extend([0; 4]);
    }

    /// Replaces four bytes.
    pub(super) fn patch32(&mut self, at: usize, value: u32) {
        if let Some(bytes) = self.code.get_mut(at..at + 4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Resolves the branches and yields the code; `None` if a label was never put anywhere.
    pub(super) fn finish(&mut self) -> Option<&[u8]> {
        for &(at, label) in &self.fixups {
            let target = self.labels.get(label.0 as usize).copied().flatten()?;
            let distance = (target as i64 - (at as i64 + 4)) as i32;
            self.code.get_mut(at..at + 4)?.copy_from_slice(&distance.to_le_bytes());
        }
        Some(&self.code)
    }
}

/// The number of a condition in the encoding of Jcc.
fn number(condition: ConditionCode) -> u8 {
    match condition {
        ConditionCode::o => 0,
        ConditionCode::no => 1,
        ConditionCode::b => 2,
        ConditionCode::ae => 3,
        ConditionCode::None | ConditionCode::e => 4,
        ConditionCode::ne => 5,
        ConditionCode::be => 6,
        ConditionCode::a => 7,
        ConditionCode::s => 8,
        ConditionCode::ns => 9,
        ConditionCode::p => 10,
        ConditionCode::np => 11,
        ConditionCode::l => 12,
        ConditionCode::ge => 13,
        ConditionCode::le => 14,
        ConditionCode::g => 15,
    }
}
