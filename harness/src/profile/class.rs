//! Kinds of instructions, by what executes them.

use iced_x86::{FlowControl, Instruction, Mnemonic};

/// What kind of work an instruction is. Each instruction has one kind; its memory accesses are counted besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Moves, additions, comparisons, shifts, addresses.
    Integer,
    /// Integer multiplication.
    Multiply,
    /// Integer division.
    Divide,
    /// Conditional branches.
    Branch,
    /// Direct jumps.
    Jump,
    /// Direct calls.
    Call,
    /// Returns.
    Return,
    /// Jumps and calls through a register or memory.
    Indirect,
    /// Additions, multiplications, comparisons and conversions of floating-point numbers in XMM registers.
    Float,
    /// Their divisions and square roots.
    FloatDivide,
    /// All else in XMM registers: moves, integers, shuffles.
    Vector,
    /// x87 and MMX.
    X87,
    /// String instructions; their elements are counted besides.
    String,
    /// SYSCALL, INT and the like, by which a program enters the kernel.
    Enter,
    /// IRET, SYSRET and the like, by which a kernel leaves.
    Leave,
    /// IN and OUT.
    Port,
    /// What an operating system alone uses, or serializes: control registers, CPUID, HLT, ...
    System,
}

impl Class {
    /// Every class.
    pub(super) const ALL: [Self; 17] = [
        Self::Integer,
        Self::Multiply,
        Self::Divide,
        Self::Branch,
        Self::Jump,
        Self::Call,
        Self::Return,
        Self::Indirect,
        Self::Float,
        Self::FloatDivide,
        Self::Vector,
        Self::X87,
        Self::String,
        Self::Enter,
        Self::Leave,
        Self::Port,
        Self::System,
    ];

    /// The name of its counter.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Branch => "branch",
            Self::Jump => "jump",
            Self::Call => "call",
            Self::Return => "return",
            Self::Indirect => "indirect",
            Self::Float => "float",
            Self::FloatDivide => "float_divide",
            Self::Vector => "vector",
            Self::X87 => "x87",
            Self::String => "string",
            Self::Enter => "enter",
            Self::Leave => "leave",
            Self::Port => "port",
            Self::System => "system",
        }
    }

    /// The class of an instruction.
    pub(super) fn of(ins: &Instruction) -> Self {
        match ins.mnemonic() {
            Mnemonic::In | Mnemonic::Out => return Self::Port,
            Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Int | Mnemonic::Int3 | Mnemonic::Into => {
                return Self::Enter;
            }
            Mnemonic::Iret
            | Mnemonic::Iretd
            | Mnemonic::Iretq
            | Mnemonic::Sysret
            | Mnemonic::Sysretq
            | Mnemonic::Sysexit => {
                return Self::Leave;
            }
            Mnemonic::Mul | Mnemonic::Imul | Mnemonic::Mulx => return Self::Multiply,
            Mnemonic::Div | Mnemonic::Idiv => return Self::Divide,
            Mnemonic::Cpuid
            | Mnemonic::Rdtsc
            | Mnemonic::Rdtscp
            | Mnemonic::Xgetbv
            | Mnemonic::Sgdt
            | Mnemonic::Sidt => {
                return Self::System;
            }
            _ => {}
        }
        match ins.flow_control() {
            FlowControl::ConditionalBranch => return Self::Branch,
            FlowControl::UnconditionalBranch => return Self::Jump,
            FlowControl::Call => return Self::Call,
            FlowControl::Return => return Self::Return,
            FlowControl::IndirectBranch | FlowControl::IndirectCall => return Self::Indirect,
            FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => return Self::System,
            FlowControl::Next => {}
        }
        if ins.is_privileged() {
            Self::System
        } else if ins.is_string_instruction() {
            Self::String
        } else if has(ins, |register| register.is_st() || register.is_mm()) || is_x87(ins) {
            Self::X87
        } else if has(ins, iced_x86::Register::is_vector_register) {
            of_vector(ins)
        } else {
            Self::Integer
        }
    }
}

fn has(ins: &Instruction, test: impl Fn(iced_x86::Register) -> bool) -> bool {
    (0..ins.op_count()).any(|i| ins.op_kind(i) == iced_x86::OpKind::Register && test(ins.op_register(i)))
}

fn is_x87(ins: &Instruction) -> bool {
    use iced_x86::CpuidFeature as Feature;
    ins.cpuid_features().iter().any(|f| matches!(f, Feature::FPU | Feature::FPU287 | Feature::FPU387 | Feature::MMX))
}

/// Of an instruction with a vector register: whether it computes with floating-point numbers, by its name.
fn of_vector(ins: &Instruction) -> Class {
    let name = format!("{:?}", ins.mnemonic()).to_ascii_lowercase();
    let name = name.strip_prefix('v').unwrap_or(&name);
    let begins = |all: &[&str]| all.iter().any(|start| name.starts_with(start));
    if begins(&["div", "sqrt"]) {
        Class::FloatDivide
    } else if begins(&[
        "add", "sub", "mul", "fm", "fnm", "min", "max", "cvt", "ucomi", "comi", "cmp", "round", "hadd", "dp",
    ]) {
        Class::Float
    } else {
        Class::Vector
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn class(bytes: &[u8]) -> Class {
        Class::of(&Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode())
    }

    #[test]
    fn instructions_are_of_the_kind_that_executes_them() {
        let cases: [(&[u8], Class); 18] = [
            (&[0x48, 0x01, 0xd8], Class::Integer),           // add rax, rbx
            (&[0x0f, 0xb1, 0x0b], Class::Integer),           // cmpxchg [rbx], ecx
            (&[0x48, 0x0f, 0xaf, 0xc3], Class::Multiply),    // imul rax, rbx
            (&[0x48, 0xf7, 0xf3], Class::Divide),            // div rbx
            (&[0x75, 0xfe], Class::Branch),                  // jne
            (&[0xeb, 0xfe], Class::Jump),                    // jmp
            (&[0xff, 0xe0], Class::Indirect),                // jmp rax
            (&[0xe8, 0, 0, 0, 0], Class::Call),              // call
            (&[0xc3], Class::Return),                        // ret
            (&[0xf2, 0x0f, 0x58, 0xc1], Class::Float),       // addsd xmm0, xmm1
            (&[0xf2, 0x48, 0x0f, 0x2a, 0xc0], Class::Float), // cvtsi2sd xmm0, rax
            (&[0xf2, 0x0f, 0x5e, 0xc1], Class::FloatDivide), // divsd xmm0, xmm1
            (&[0x66, 0x0f, 0xfe, 0xc1], Class::Vector),      // paddd xmm0, xmm1
            (&[0xd8, 0xc1], Class::X87),                     // fadd st, st(1)
            (&[0xf3, 0x48, 0xa5], Class::String),            // rep movsq
            (&[0x0f, 0x05], Class::Enter),                   // syscall
            (&[0xe6, 0x80], Class::Port),                    // out 0x80, al
            (&[0x0f, 0x22, 0xd8], Class::System),            // mov cr3, rax
        ];
        for (bytes, expected) in cases {
            assert_eq!(class(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<_> = Class::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }
}
