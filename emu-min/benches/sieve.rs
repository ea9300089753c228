//! Guest instructions per second on the inner loop of a sieve, by strategy.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use emu_min::{Config, Cpu, Exit, GuestRam, State, Strategy};

const TABLES: u64 = 0x1000;
const CODE: u64 = 0x10_0000;
/// Instructions executed per measured run.
const INSTRUCTIONS: u64 = 2_000_000;

/// `for i in 2..n { if !composite[i] { count += 1; for j in (i*i..n).step_by(i) { composite[j] = 1 } } }`, for ever:
/// rdi = table, rsi = n, rcx = i, rdx = j, rax = count.
#[rustfmt::skip]
const SIEVE: [u8; 68] = [
    0xbf, 0x00, 0x00, 0x20, 0x00,             // outer: mov edi, 0x200000
    0xbe, 0x00, 0x00, 0x04, 0x00,             //        mov esi, 0x40000
    0x31, 0xc0,                               //        xor eax, eax
    0x57,                                     //        push rdi
    0x48, 0x89, 0xf1,                         //        mov rcx, rsi
    0xf3, 0xaa,                               //        rep stosb
    0x5f,                                     //        pop rdi
    0xb9, 0x02, 0x00, 0x00, 0x00,             //        mov ecx, 2
    0x80, 0x3c, 0x0f, 0x00,                   // next:  cmp byte [rdi+rcx], 0
    0x75, 0x18,                               //        jne skip
    0x48, 0xff, 0xc0,                         //        inc rax
    0x48, 0x89, 0xca,                         //        mov rdx, rcx
    0x48, 0x0f, 0xaf, 0xd1,                   //        imul rdx, rcx
    0xeb, 0x07,                               //        jmp test
    0xc6, 0x04, 0x17, 0x01,                   // mark:  mov byte [rdi+rdx], 1
    0x48, 0x01, 0xca,                         //        add rdx, rcx
    0x48, 0x39, 0xf2,                         // test:  cmp rdx, rsi
    0x72, 0xf4,                               //        jb mark
    0x48, 0xff, 0xc1,                         // skip:  inc rcx
    0x48, 0x39, 0xf1,                         //        cmp rcx, rsi
    0x72, 0xda,                               //        jb next
    0xeb, 0xbf,                               //        jmp outer
    0x90,
];

fn machine(strategy: Strategy) -> Cpu {
    let ram = GuestRam::allocate(16 << 20);
    assert!(ram.write_u64(TABLES, (TABLES + 0x1000) | 7));
    assert!(ram.write_u64(TABLES + 0x1000, (TABLES + 0x2000) | 7));
    for i in 0..8 {
        assert!(ram.write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x87));
    }
    assert!(ram.write(CODE, &SIEVE));
    let mut cpu = Cpu::new(ram, Config { strategy, ..Config::default() });
    cpu.set_state(&State::long_mode(CODE, 0x80_0000, TABLES, 3));
    cpu
}

fn sieve(c: &mut Criterion) {
    let mut group = c.benchmark_group("sieve");
    group.throughput(Throughput::Elements(INSTRUCTIONS)).sample_size(20);
    for strategy in [Strategy::Naive, Strategy::Interp] {
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
