//! An interpreter for a small register machine, running the Collatz iteration of every number up to n.
//!
//! What it shows: indirect branches, one for every interpreted instruction, and the loads that feed them: what every
//! language runtime does, and what an emulator does itself.
#![no_std]
#![no_main]

use rt::Checksum;

rt::program!(main, rt::sizes::BYTECODE, laps);

/// Operations of the machine. Every instruction is four bytes: the operation, the register it writes, and two operands,
/// each a register or a small number.
mod op {
    pub(super) const COPY: u8 = 0;
    pub(super) const ADD: u8 = 1;
    pub(super) const ADD_NUMBER: u8 = 2;
    pub(super) const MULTIPLY_NUMBER: u8 = 3;
    pub(super) const SHIFT_RIGHT: u8 = 4;
    pub(super) const AND_NUMBER: u8 = 5;
    pub(super) const JUMP: u8 = 6;
    pub(super) const JUMP_IF_ZERO: u8 = 7;
    pub(super) const JUMP_IF_EQUAL: u8 = 8;
    pub(super) const MIX: u8 = 9;
    pub(super) const HALT: u8 = 10;
}

// Registers.
const N: u8 = 0;
const I: u8 = 1;
const X: u8 = 2;
const STEPS: u8 = 3;
const TEMP: u8 = 4;
const HASH: u8 = 5;
const ONE: u8 = 6;

/// for i in 1..=n { x = i; steps = 0; while x != 1 { steps += 1; x = if odd { 3 x + 1 } else { x / 2 } } mix(steps) }
const CODE: [[u8; 4]; 17] = [
    [op::ADD_NUMBER, ONE, ONE, 1],
    [op::ADD_NUMBER, I, I, 1], // 1: the next i
    [op::COPY, X, I, 0],
    [op::AND_NUMBER, STEPS, STEPS, 0],
    [op::JUMP_IF_EQUAL, 13, X, ONE], // 4: the next step
    [op::ADD, STEPS, STEPS, ONE],
    [op::AND_NUMBER, TEMP, X, 1],
    [op::JUMP_IF_ZERO, 11, TEMP, 0],
    [op::MULTIPLY_NUMBER, X, X, 3],
    [op::ADD_NUMBER, X, X, 1],
    [op::JUMP, 4, 0, 0],
    [op::SHIFT_RIGHT, X, X, 1], // 11: even
    [op::JUMP, 4, 0, 0],
    [op::MIX, HASH, STEPS, 0], // 13: reached 1
    [op::JUMP_IF_EQUAL, 16, I, N],
    [op::JUMP, 1, 0, 0],
    [op::HALT, 0, 0, 0], // 16
];

fn main([n]: [u64; 1]) {
    let timed = rt::laps(&mut (), |_| {}, |_| run(&CODE, n));
    rt::finish(Checksum::of([timed.value]), timed.ticks);
}

/// Runs a program with `n` in its first register; yields the register HASH.
#[inline(never)]
fn run(code: &[[u8; 4]], n: u64) -> u64 {
    let mut registers = [0_u64; 16];
    registers[usize::from(N)] = n;
    // The mask makes every operand a register that exists.
    let index = |operand: u8| usize::from(operand & 15);
    let mut at = 0;
    loop {
        let [operation, to, a, b] = code[at];
        at += 1;
        let (x, number) = (registers[index(a)], u64::from(b));
        match operation {
            op::COPY => registers[index(to)] = x,
            op::ADD => registers[index(to)] = x.wrapping_add(registers[index(b)]),
            op::ADD_NUMBER => registers[index(to)] = x.wrapping_add(number),
            op::MULTIPLY_NUMBER => registers[index(to)] = x.wrapping_mul(number),
            op::SHIFT_RIGHT => registers[index(to)] = x >> (number & 63),
            op::AND_NUMBER => registers[index(to)] = x & number,
            op::JUMP => at = usize::from(to),
            op::JUMP_IF_ZERO if x == 0 => at = usize::from(to),
            op::JUMP_IF_EQUAL if x == registers[index(b)] => at = usize::from(to),
            op::JUMP_IF_ZERO | op::JUMP_IF_EQUAL => {}
            op::MIX => registers[index(to)] = registers[index(to)].rotate_left(5) ^ x,
            op::HALT => return registers[usize::from(HASH)],
            _ => illegal(operation, at - 1),
        }
    }
}

#[cold]
fn illegal(operation: u8, at: usize) -> ! {
    rt::fail(rt::EXIT_WRONG, format_args!("bytecode: {operation} at {at} is no operation"))
}
