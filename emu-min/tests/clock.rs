//! A time-stamp counter that counts instructions: the same whatever executes them, wherever in a block it is read.

mod common;

use common::{CODE, DATA, RAM, STACK, STRATEGIES, TABLES, assemble, identity_map};
use emu_min::{Clock, Config, Cpu, Exit, GuestRam, State, Strategy};
use iced_x86::code_asm::*;

/// Readings of one run.
const READINGS: u64 = 300;

/// A CPU whose counter counts instructions, in ring 0.
fn machine(strategy: Strategy, hot: u16, code: &[u8]) -> Cpu {
    let ram = GuestRam::allocate(RAM);
    identity_map(&ram);
    assert!(ram.write(CODE, code));
    let mut cpu = Cpu::new(ram, Config { clock: Clock::Instructions, hot, ..Config::of(strategy) });
    cpu.set_state(&State::long_mode(CODE, STACK, TABLES, 0));
    cpu
}

/// Stores EDX:EAX at RDI and advances it.
fn keep(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(dword_ptr(rdi), eax)?;
    a.mov(dword_ptr(rdi + 4), edx)?;
    a.add(rdi, 8)
}

#[test]
fn every_engine_reads_the_same_everywhere_in_a_block() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(rdi, DATA)?;
        a.mov(ebx, (READINGS / 3) as u32)?;
        a.set_label(&mut again)?;
        a.nop()?;
        a.rdtsc()?;
        keep(a)?;
        a.rdtscp()?;
        keep(a)?;
        a.mov(ecx, 0x10)?;
        a.rdmsr()?;
        keep(a)?;
        a.dec(ebx)?;
        a.jnz(again)?;
        a.hlt()
    });
    let mut all = Vec::new();
    for (strategy, hot) in STRATEGIES.into_iter().map(|s| (s, 0)).chain([(Strategy::Dbt, 20)]) {
        let mut cpu = machine(strategy, hot, &code);
        assert_eq!(cpu.run(), Exit::Halt);
        let readings: Vec<u64> = (0..READINGS).map(|i| cpu.ram().read_u64(DATA + i * 8).unwrap()).collect();
        // Two instructions set it up and a NOP comes first; the rounds are all alike.
        assert_eq!(readings[0], 3, "{strategy:?}");
        let round = readings[3] - readings[0];
        assert!(readings.windows(4).all(|w| w[3] - w[0] == round), "{strategy:?}");
        assert_eq!(cpu.counters().instructions, 3 + round * (READINGS / 3), "{strategy:?}");
        all.push(readings);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
}

#[test]
fn time_that_is_skipped_has_passed() {
    let code = assemble(|a| {
        a.rdtsc()?;
        a.hlt()?;
        a.rdtsc()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, 0, &code);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 0, "{strategy:?}");
        cpu.skip_time(1000);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 1002, "{strategy:?}");
    }
}
