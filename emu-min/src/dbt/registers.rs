//! Where guest registers live while translated code runs.
//!
//! Vector registers are at home in those of the same number. Of the sixteen general registers, the host's RSP holds the
//! frame, RAX and R11 are scratch; so guest RAX, RSP and R11 live elsewhere, and R12, R13 and R15, which compilers use
//! least, live in the frame.

use iced_x86::Register;

use super::frame;

/// Scratch: the index into the TLB, and flags on their way.
pub(super) const RAX: Register = Register::RAX;
/// Scratch: the address of an access.
pub(super) const ADDRESS: Register = Register::R11;

/// Numbers of guest registers with a purpose: the stack and frame pointers, and what strings are counted and found by.
pub(super) const RSP: usize = 4;
pub(super) const RBP: usize = 5;
pub(super) const RCX: usize = 1;
pub(super) const RSI: usize = 6;
pub(super) const RDI: usize = 7;

/// Guest registers by number, in host registers.
const HOME: [Option<Register>; 16] = [
    Some(Register::R13), // RAX
    Some(Register::RCX),
    Some(Register::RDX),
    Some(Register::RBX),
    Some(Register::R15), // RSP
    Some(Register::RBP),
    Some(Register::RSI),
    Some(Register::RDI),
    Some(Register::R8),
    Some(Register::R9),
    Some(Register::R10),
    Some(Register::R12), // R11
    None,
    None,
    Some(Register::R14),
    None,
];

/// The host register that holds a guest register, if it is not in the frame.
pub(super) fn home(guest: usize) -> Option<Register> {
    HOME[guest & 15]
}

/// Where in the frame the guest register of this number is saved, or lives.
pub(super) fn slot(guest: usize) -> usize {
    frame::GPRS + (guest & 15) * 8
}

/// The register of the same size as `like` within the 64-bit register `whole`.
pub(super) fn sized(whole: Register, like: Register) -> Register {
    let number = whole.number();
    match like.size() {
        8 => Register::RAX + number as u32,
        4 => Register::EAX + number as u32,
        2 => Register::AX + number as u32,
        _ => low_byte(number),
    }
}

/// AL to R15B: the bytes of SP, BP, SI and DI are SPL to DIL.
fn low_byte(number: usize) -> Register {
    const BYTES: [Register; 16] = [
        Register::AL,
        Register::CL,
        Register::DL,
        Register::BL,
        Register::SPL,
        Register::BPL,
        Register::SIL,
        Register::DIL,
        Register::R8L,
        Register::R9L,
        Register::R10L,
        Register::R11L,
        Register::R12L,
        Register::R13L,
        Register::R14L,
        Register::R15L,
    ];
    BYTES[number & 15]
}

/// AH, CH, DH or BH.
pub(super) fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

/// The number of the guest register that `register` is a part of.
pub(super) fn guest_number(register: Register) -> usize {
    register.full_register().number()
}
