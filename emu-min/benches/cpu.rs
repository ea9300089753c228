//! What the parts of the emulator cost, each by itself: decoding, translating, going from block to block, the soft TLB and
//! what lies behind it, and interrupts. Times are per element, as the throughput says.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use emu_min::{Config, Cpu, Exit, GuestRam, Mechanisms, Segment, State, Table};
use iced_x86::code_asm::*;

const RAM: usize = 256 << 20;
const TABLES: u64 = 0x1000;
const IDT: u64 = 0xb000;
const GDT: u64 = 0xc000;
const HANDLER: u64 = 0xd000;
const CODE: u64 = 0x10_0000;
const STACK: u64 = 0x30_0000;
const DATA: u64 = 0x400_0000;

fn assemble(build: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).expect("64 is a bitness");
    build(&mut assembler).expect("the operands fit their instructions");
    assembler.assemble(CODE).expect("the code is well-formed")
}

/// A CPU in ring 0 with all RAM mapped to itself by 2 MiB pages, interrupts on, and a handler that returns at once.
fn machine(code: &[u8]) -> Cpu {
    machine_with(code, Config::default())
}

/// The same, whose code is translated when it is executed `hot` times.
fn translating(code: &[u8], hot: u16) -> Cpu {
    machine_with(code, Config { mechanisms: Mechanisms::dbt(), hot, ..Config::default() })
}

fn machine_with(code: &[u8], config: Config) -> Cpu {
    let ram = GuestRam::allocate(RAM);
    assert!(ram.write_u64(TABLES, (TABLES + 0x1000) | 7));
    assert!(ram.write_u64(TABLES + 0x1000, (TABLES + 0x2000) | 7));
    for i in 0..(RAM as u64 >> 21) {
        assert!(ram.write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x87));
    }
    assert!(ram.write_u64(GDT + 16, 0x00af_9b00_0000_ffff) && ram.write_u64(GDT + 24, 0x00cf_9300_0000_ffff));
    let gate = (HANDLER & 0xffff) | 0x10 << 16 | 0x8e << 40 | (HANDLER >> 16) << 48;
    assert!(ram.write_u64(IDT + 0x40 * 16, gate) && ram.write(HANDLER, &[0x48, 0xcf])); // iretq
    assert!(ram.write(CODE, code));
    let mut cpu = Cpu::new(ram, config);
    let mut state = State::long_mode(CODE, STACK, TABLES, 0);
    state.gdtr = Table { base: GDT, limit: 31 };
    state.idtr = Table { base: IDT, limit: 4095 };
    state.tr = Segment { selector: 0x28, base: 0xe000, limit: 0x67, attributes: 0x8b };
    state.rflags |= 0x200;
    cpu.set_state(&state);
    cpu
}

/// Measures runs of `instructions` instructions, of which `elements` are what counts.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, cpu: &mut Cpu, instructions: u64, elements: u64) {
    group.throughput(Throughput::Elements(elements));
    group.bench_function(name, |b| {
        b.iter(|| {
            cpu.set_instruction_budget(Some(instructions));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
        });
    });
}

/// Ten thousand instructions in blocks of eight.
fn long_code() -> Vec<u8> {
    assemble(|a| {
        for i in 0..1250 {
            let mut next = a.create_label();
            a.mov(rax, qword_ptr(rsp + 8))?;
            a.lea(rdx, qword_ptr(rax + rcx * 4 + i))?;
            a.add(rcx, rdx)?;
            a.movzx(esi, dl)?;
            a.xor(edi, esi)?;
            a.shr(rdx, 5)?;
            a.test(rdi, rdi)?;
            a.je(next)?;
            a.set_label(&mut next)?;
        }
        a.hlt()
    })
}

/// Runs code that was never seen, once.
fn run_anew(cpu: &mut Cpu) {
    let mut state = cpu.state();
    state.rip = CODE;
    cpu.flush_code();
    cpu.set_state(&state);
    assert_eq!(cpu.run(), Exit::Halt);
}

/// Decoding and executing once.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let mut cpu = machine(&long_code());
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("instruction", |b| b.iter(|| run_anew(&mut cpu)));
    group.finish();
}

/// Translating alone, by the emulator's own clock.
fn translate(c: &mut Criterion) {
    let mut group = c.benchmark_group("translate");
    let mut cpu = translating(&long_code(), 0);
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("instruction", |b| {
        b.iter_custom(|times| {
            let before = cpu.counters().translation.expect("it translates");
            (0..times).for_each(|_| run_anew(&mut cpu));
            let after = cpu.counters().translation.expect("it translates");
            let instructions = (after.guest_instructions - before.guest_instructions) as f64;
            let nanoseconds = (after.nanoseconds - before.nanoseconds) as f64;
            Duration::from_nanos((nanoseconds / instructions * 10_000.0 * times as f64) as u64)
        });
    });
    group.finish();
}

/// Transitions between blocks.
fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    let direct = assemble(|a| {
        let (mut one, mut two) = (a.create_label(), a.create_label());
        a.set_label(&mut one)?;
        a.inc(rcx)?;
        a.jmp(two)?;
        a.set_label(&mut two)?;
        a.inc(rdx)?;
        a.jmp(one)
    });
    measure(&mut group, "jmp", &mut machine(&direct), 100_000, 50_000);
    measure(&mut group, "translated_jmp", &mut translating(&direct, 10), 100_000, 50_000);
    let call = assemble(|a| {
        let (mut again, mut function) = (a.create_label(), a.create_label());
        a.set_label(&mut again)?;
        a.call(function)?;
        a.jmp(again)?;
        a.set_label(&mut function)?;
        a.ret()
    });
    measure(&mut group, "call_ret", &mut machine(&call), 99_999, 33_333);
    measure(&mut group, "translated_call_ret", &mut translating(&call, 10), 99_999, 33_333);
    let branch = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, u32::MAX)?;
        a.set_label(&mut again)?;
        a.dec(rcx)?;
        a.jne(again)?;
        a.jmp(CODE)
    });
    measure(&mut group, "dec_jne", &mut machine(&branch), 100_000, 50_000);
    group.finish();
}

/// Loads that find their translation in the first array of the TLB, in the second, and nowhere.
fn translation(c: &mut Criterion) {
    let mut group = c.benchmark_group("translation");
    // Eight loads, `stride` bytes apart; the loop costs two instructions more.
    let loads = |stride: i32| {
        assemble(|a| {
            let mut again = a.create_label();
            a.mov(esi, DATA as u32)?;
            a.set_label(&mut again)?;
            for i in 0..8 {
                a.mov(rax, qword_ptr(rsi + i * stride))?;
            }
            a.dec(rcx)?;
            a.jmp(again)
        })
    };
    measure(&mut group, "hit", &mut machine(&loads(8)), 100_000, 80_000);
    // Distances that no two loads share a lookup at.
    measure(&mut group, "translated_hit", &mut translating(&loads(512), 10), 100_000, 80_000);
    measure(&mut group, "translated_shared_hit", &mut translating(&loads(8), 10), 100_000, 80_000);
    // Pages that share a slot of the first array.
    measure(&mut group, "second_array", &mut machine(&loads(4 << 20)), 100_000, 80_000);
    let walk = assemble(|a| {
        let mut again = a.create_label();
        a.mov(esi, DATA as u32)?;
        a.set_label(&mut again)?;
        a.mov(rax, qword_ptr(rsi))?;
        // A page further in windows of 128 MiB in all: twice what the second array holds.
        a.add(rsi, 0x1000)?;
        a.and(esi, 0xbff_ffff_u32 as i32)?;
        a.or(esi, DATA as i32)?;
        a.jmp(again)
    });
    measure(&mut group, "walk", &mut machine(&walk), 100_000, 20_000);
    group.finish();
}

/// An external interrupt to a handler that returns at once.
fn interrupt(c: &mut Criterion) {
    let mut group = c.benchmark_group("interrupt");
    group.throughput(Throughput::Elements(1));
    let mut cpu = machine(&[0xeb, 0xfe]);
    group.bench_function("delivery_and_return", |b| {
        b.iter(|| {
            cpu.inject_interrupt(black_box(0x40));
            cpu.set_instruction_budget(Some(1));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
        });
    });
    assert!(cpu.counters().interrupt > 0);
    group.finish();
}

criterion_group!(benches, decode, translate, dispatch, translation, interrupt);
criterion_main!(benches);
