//! Guest instructions per second on the inner loop of a sieve, by strategy.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emu_min::{Config, Cpu, Exit, GuestRam, State, Strategy};
use iced_x86::code_asm::*;

const TABLES: u64 = 0x1000;
const CODE: u64 = 0x10_0000;
/// Instructions executed per measured run.
const INSTRUCTIONS: u64 = 2_000_000;

/// For ever: fill a table of 256 KiB with zeros, then
/// `for i in 2..n { if !table[i] { count += 1; for j in (i * i..n).step_by(i) { table[j] = 1 } } }`.
fn sieve_code() -> Vec<u8> {
    let build = |a: &mut CodeAssembler| {
        let (mut outer, mut next, mut skip) = (a.create_label(), a.create_label(), a.create_label());
        let (mut mark, mut test) = (a.create_label(), a.create_label());
        a.set_label(&mut outer)?;
        a.mov(edi, 0x20_0000)?;
        a.mov(esi, 0x4_0000)?;
        a.xor(eax, eax)?;
        a.mov(rcx, rsi)?;
        a.push(rdi)?;
        a.rep().stosb()?;
        a.pop(rdi)?;
        a.mov(ecx, 2)?;
        a.set_label(&mut next)?;
        a.cmp(byte_ptr(rdi + rcx), 0)?;
        a.jne(skip)?;
        a.inc(rax)?;
        a.mov(rdx, rcx)?;
        a.imul_2(rdx, rcx)?;
        a.jmp(test)?;
        a.set_label(&mut mark)?;
        a.mov(byte_ptr(rdi + rdx), 1)?;
        a.add(rdx, rcx)?;
        a.set_label(&mut test)?;
        a.cmp(rdx, rsi)?;
        a.jb(mark)?;
        a.set_label(&mut skip)?;
        a.inc(rcx)?;
        a.cmp(rcx, rsi)?;
        a.jb(next)?;
        a.jmp(outer)
    };
    let mut assembler = CodeAssembler::new(64).expect("64 is a bitness");
    build(&mut assembler).expect("the operands fit their instructions");
    assembler.assemble(CODE).expect("the code is well-formed")
}

fn machine(strategy: Strategy) -> Cpu {
    let ram = GuestRam::allocate(16 << 20);
    assert!(ram.write_u64(TABLES, (TABLES + 0x1000) | 7));
    assert!(ram.write_u64(TABLES + 0x1000, (TABLES + 0x2000) | 7));
    for i in 0..8 {
        assert!(ram.write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x87));
    }
    assert!(ram.write(CODE, &sieve_code()));
    let mut cpu = Cpu::new(ram, Config::of(strategy));
    cpu.set_state(&State::long_mode(CODE, 0x80_0000, TABLES, 3));
    cpu
}

fn sieve(c: &mut Criterion) {
    let mut group = c.benchmark_group("sieve");
    group.throughput(Throughput::Elements(INSTRUCTIONS)).sample_size(20);
    for strategy in [Strategy::Naive, Strategy::Interp, Strategy::Dbt] {
        let mut cpu = machine(strategy);
        group.bench_function(BenchmarkId::from_parameter(format!("{strategy:?}")), |b| {
            b.iter(|| {
                cpu.set_instruction_budget(Some(INSTRUCTIONS));
                assert_eq!(cpu.run(), Exit::BudgetExhausted);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sieve);
criterion_main!(benches);
