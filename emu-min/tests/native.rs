//! The real processor as the oracle: random user-mode instructions run on the host and on the emulator, and registers,
//! defined flags and memory must agree.

mod common;

use std::collections::BTreeMap;

use common::{CODE, DATA, STACK, machine};
use emu_min::{Cpu, Exit, Gpr, Strategy};
use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes of the data area that an instruction may touch.
const WINDOW: usize = 4096;
/// Status flags of RFLAGS.
const STATUS: u64 = 0x8d5;

/// Registers around a run on the host; the assembly below knows the layout.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Context {
    gprs: [u64; 16],
    rflags: u64,
    mxcsr: u64,
    xmm: [u128; 16],
}

std::arch::global_asm!(
    ".global emu_min_native_run",
    "emu_min_native_run:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "push rsi",
    "ldmxcsr [rdi+136]",
    "movaps xmm0, [rdi+144]",
    "movaps xmm1, [rdi+160]",
    "movaps xmm2, [rdi+176]",
    "movaps xmm3, [rdi+192]",
    "movaps xmm4, [rdi+208]",
    "movaps xmm5, [rdi+224]",
    "movaps xmm6, [rdi+240]",
    "movaps xmm7, [rdi+256]",
    "movaps xmm8, [rdi+272]",
    "movaps xmm9, [rdi+288]",
    "movaps xmm10, [rdi+304]",
    "movaps xmm11, [rdi+320]",
    "movaps xmm12, [rdi+336]",
    "movaps xmm13, [rdi+352]",
    "movaps xmm14, [rdi+368]",
    "movaps xmm15, [rdi+384]",
    "push [rdi+128]",
    "popfq",
    "mov rax, [rdi]",
    "mov rcx, [rdi+8]",
    "mov rdx, [rdi+16]",
    "mov rbx, [rdi+24]",
    "mov rbp, [rdi+40]",
    "mov rsi, [rdi+48]",
    "mov r8, [rdi+64]",
    "mov r9, [rdi+72]",
    "mov r10, [rdi+80]",
    "mov r11, [rdi+88]",
    "mov r12, [rdi+96]",
    "mov r13, [rdi+104]",
    "mov r14, [rdi+112]",
    "mov r15, [rdi+120]",
    "mov rdi, [rdi+56]",
    "call [rsp]",
    "xchg rdi, [rsp+8]",
    "mov [rdi], rax",
    "mov [rdi+8], rcx",
    "mov [rdi+16], rdx",
    "mov [rdi+24], rbx",
    "mov [rdi+40], rbp",
    "mov [rdi+48], rsi",
    "mov rax, [rsp+8]",
    "mov [rdi+56], rax",
    "mov [rdi+64], r8",
    "mov [rdi+72], r9",
    "mov [rdi+80], r10",
    "mov [rdi+88], r11",
    "mov [rdi+96], r12",
    "mov [rdi+104], r13",
    "mov [rdi+112], r14",
    "mov [rdi+120], r15",
    "pushfq",
    "pop [rdi+128]",
    "cld",
    "stmxcsr [rdi+136]",
    "movaps [rdi+144], xmm0",
    "movaps [rdi+160], xmm1",
    "movaps [rdi+176], xmm2",
    "movaps [rdi+192], xmm3",
    "movaps [rdi+208], xmm4",
    "movaps [rdi+224], xmm5",
    "movaps [rdi+240], xmm6",
    "movaps [rdi+256], xmm7",
    "movaps [rdi+272], xmm8",
    "movaps [rdi+288], xmm9",
    "movaps [rdi+304], xmm10",
    "movaps [rdi+320], xmm11",
    "movaps [rdi+336], xmm12",
    "movaps [rdi+352], xmm13",
    "movaps [rdi+368], xmm14",
    "movaps [rdi+384], xmm15",
    "push 0x1f80",
    "ldmxcsr [rsp]",
    "add rsp, 24",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

unsafe extern "sysv64" {
    fn emu_min_native_run(context: *mut Context, code: *const u8);
}

/// The host as an oracle: an executable page, and the data window at the same address as in the guest.
struct Host {
    code: *mut u8,
}

impl Host {
    fn new() -> Option<Self> {
        // SAFETY: fresh anonymous mappings; the fixed one refuses to replace anything that is there.
        unsafe {
            let code = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            let data = libc::mmap(
                DATA as *mut libc::c_void,
                WINDOW,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            );
            if code == libc::MAP_FAILED || data as u64 != DATA {
                return None;
            }
            Some(Self { code: code.cast() })
        }
    }

    fn run(&self, instruction: &[u8], context: &mut Context, memory: &mut [u8; WINDOW]) {
        // SAFETY: the page holds one user-mode instruction, chosen not to touch the stack pointer or memory outside
        // the window, and a return; the window is mapped at DATA.
        unsafe {
            std::ptr::copy_nonoverlapping(instruction.as_ptr(), self.code, instruction.len());
            self.code.add(instruction.len()).write(0xc3);
            std::ptr::copy_nonoverlapping(memory.as_ptr(), DATA as *mut u8, WINDOW);
            emu_min_native_run(context, self.code);
            std::ptr::copy_nonoverlapping(DATA as *const u8, memory.as_mut_ptr(), WINDOW);
        }
    }
}

/// A random instruction of the user set that this test can run: memory only at [rsi + disp8], RSP untouched.
fn random_instruction(rng: &mut ChaCha8Rng, factory: &mut InstructionInfoFactory) -> Option<(Vec<u8>, Instruction)> {
    let mut bytes = Vec::with_capacity(16);
    for prefix in [0x66, 0xf2, 0xf3] {
        if rng.next_u32().is_multiple_of(5) {
            bytes.push(prefix);
        }
    }
    if rng.next_u32().is_multiple_of(2) {
        bytes.push(0x40 | (rng.next_u32() % 16) as u8 & !2); // no REX.X
    }
    if rng.next_u32().is_multiple_of(2) {
        bytes.push(0x0f);
    }
    bytes.push(rng.next_u32() as u8);
    let register_form = rng.next_u32().is_multiple_of(2);
    let modrm = rng.next_u32() as u8;
    if register_form {
        bytes.push(modrm | 0xc0);
    } else {
        bytes.push(modrm & 0x38 | 0x46); // [rsi + disp8], or [r14 + disp8]
        bytes.push((rng.next_u32() as u8) & if rng.next_u32().is_multiple_of(2) { 0xf0 } else { 0xff });
    }
    for _ in 0..8 {
        bytes.push(rng.next_u32() as u8);
    }
    let mut decoder = Decoder::with_ip(64, &bytes, CODE, DecoderOptions::NONE);
    let instruction = decoder.decode();
    bytes.truncate(instruction.len());
    suitable(&instruction, factory).then_some((bytes, instruction))
}

fn suitable(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> bool {
    use CpuidFeature as F;
    use Mnemonic as M;
    let known = instruction.cpuid_features().iter().all(|feature| {
        matches!(
            feature,
            F::INTEL8086
                | F::INTEL186
                | F::INTEL286
                | F::INTEL386
                | F::INTEL486
                | F::X64
                | F::CMOV
                | F::CX8
                | F::CMPXCHG16B
                | F::SSE
                | F::SSE2
                | F::POPCNT
                | F::MULTIBYTENOP
                | F::PAUSE
                | F::PREFETCHW
        )
    });
    let excluded = matches!(
        instruction.mnemonic(),
        // System state, or not a function of registers and memory.
        M::INVALID | M::Sldt | M::Str | M::Smsw | M::Sgdt | M::Sidt | M::Lar | M::Lsl | M::Verr | M::Verw | M::Rdtsc
            | M::Cpuid | M::Popfq | M::Popf | M::Pushfq | M::Pushf | M::Xlatb | M::Syscall | M::Maskmovdqu | M::Ldmxcsr
            // Approximations differ between processors, not between this one and its own emulation; kept out because
            // their mnemonics also have MMX-register forms elsewhere.
            | M::Reservednop | M::Pause | M::Enter | M::Leave | M::Std | M::Clflush | M::Clflushopt
    );
    if !known
        || excluded
        || instruction.is_privileged()
        || instruction.flow_control() != FlowControl::Next
        || instruction.is_stack_instruction()
        || instruction.segment_prefix() != Register::None
    {
        return false;
    }
    for i in 0..instruction.op_count() {
        let register = instruction.op_register(i);
        if instruction.op_kind(i) == OpKind::Register
            && (register.is_mm() || register.is_st() || register.is_segment_register())
        {
            return false;
        }
        if instruction.op_kind(i) == OpKind::Memory
            && !(matches!(instruction.memory_base(), Register::RSI | Register::R14)
                && instruction.memory_displ_size() <= 1
                && instruction.memory_index() == Register::None)
        {
            return false;
        }
    }
    // A bit offset in a register reaches far outside the window.
    let bit_string = matches!(instruction.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register;
    let info = factory.info(instruction);
    !bit_string && !info.used_registers().iter().any(|r| r.register().full_register() == Register::RSP)
}

/// Values that meet corners often.
fn random_value(rng: &mut ChaCha8Rng) -> u64 {
    match rng.next_u32() % 6 {
        0 => u64::from(rng.next_u32() % 4),
        1 => 1_u64.rotate_left(rng.next_u32() % 64).wrapping_sub(u64::from(rng.next_u32() % 2)),
        2 => u64::from(rng.next_u32() as i32 as u32),
        3 => i64::from(rng.next_u32() as i8) as u64,
        _ => rng.next_u64(),
    }
}

/// As floating point: ordinary numbers, zeros, infinities, NaNs and denormals, single and double.
fn random_vector(rng: &mut ChaCha8Rng) -> u128 {
    let mut half = || match rng.next_u32() % 8 {
        0 => (rng.next_u32() as i32 as f64).to_bits(),
        1 => (f64::from(rng.next_u32()) / 7.0).to_bits(),
        2 => u64::from((rng.next_u32() as i32 as f32 / 3.0).to_bits()) * 0x1_0000_0001,
        3 => [0, 1 << 63, 0x7ff0 << 48, 0xfff8 << 48, 0x7ff4 << 48 | 5, 7, 0x7f80_0000_7fa0_0001, 0x8000_0001]
            [rng.next_u32() as usize % 8],
        4 => random_value(rng),
        _ => rng.next_u64(),
    };
    u128::from(half()) | u128::from(half()) << 64
}

fn random_context(rng: &mut ChaCha8Rng, mxcsr: u64) -> Context {
    let mut context = Context { gprs: [0; 16], rflags: 0x202, mxcsr, xmm: [0; 16] };
    for gpr in &mut context.gprs {
        *gpr = random_value(rng);
    }
    context.gprs[Gpr::Rsp as usize] = STACK;
    // Both may serve as base of memory operands and string instructions.
    for register in [Gpr::Rsi, Gpr::R14, Gpr::Rdi] {
        context.gprs[register as usize] = DATA + 512 + u64::from(rng.next_u32() % 64) * 16;
    }
    context.gprs[Gpr::Rcx as usize] &= 0xff; // a repeat count within the window
    context.rflags |= rng.next_u64() & STATUS;
    for xmm in &mut context.xmm {
        *xmm = random_vector(rng);
    }
    context
}

/// Runs one instruction on the emulator; false if it raised an exception.
fn emulate(cpu: &mut Cpu, bytes: &[u8], context: &mut Context, memory: &mut [u8; WINDOW]) -> bool {
    assert!(cpu.ram().write(CODE, bytes) && cpu.ram().write(DATA, &memory[..]));
    let mut state = emu_min::State::long_mode(CODE, STACK, common::TABLES, 3);
    state.gprs = context.gprs;
    state.rflags = context.rflags;
    state.mxcsr = context.mxcsr as u32;
    state.xmm = context.xmm;
    cpu.set_state(&state);
    cpu.flush_code();
    cpu.set_instruction_budget(Some(1));
    if cpu.run() != Exit::BudgetExhausted {
        return false;
    }
    let state = cpu.state();
    assert_eq!(state.rip, CODE + bytes.len() as u64);
    context.gprs = state.gprs;
    context.rflags = state.rflags;
    context.mxcsr = u64::from(state.mxcsr);
    context.xmm = state.xmm;
    assert!(cpu.ram().read(DATA, &mut memory[..]));
    true
}

/// iced names the flags; this gives their bits in RFLAGS.
fn undefined_bits(instruction: &Instruction, context: &Context) -> u64 {
    use iced_x86::RflagsBits as B;
    let mut bits = 0;
    for (name, bit) in [(B::CF, 1), (B::PF, 4), (B::AF, 0x10), (B::ZF, 0x40), (B::SF, 0x80), (B::OF, 0x800)] {
        if instruction.rflags_undefined() & name != 0 {
            bits |= bit;
        }
    }
    // A shift by CL: flags depend on the count, which iced does not know; OF is defined for a count of one only, CF
    // not past the operand's width.
    if matches!(
        instruction.mnemonic(),
        Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr | Mnemonic::Sar | Mnemonic::Shld | Mnemonic::Shrd
    ) {
        bits |= 0x810;
        let width = match instruction.op0_kind() {
            OpKind::Register => instruction.op0_register().size(),
            _ => instruction.memory_size().size(),
        } as u64
            * 8;
        let last = instruction.op_count() - 1;
        let count = if instruction.op_kind(last) == OpKind::Register {
            context.gprs[Gpr::Rcx as usize]
        } else {
            u64::from(instruction.immediate8())
        } & if width == 64 { 63 } else { 31 };
        if count == 0 {
            return 0;
        }
        if count == 1 {
            bits &= !0x800;
        }
        if count >= width {
            bits |= 1;
        }
        // Past the width of a 16-bit operand a double shift has no defined result at all.
        if matches!(instruction.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd) && count > width {
            bits |= STATUS;
        }
    }
    if matches!(instruction.mnemonic(), Mnemonic::Rol | Mnemonic::Ror | Mnemonic::Rcl | Mnemonic::Rcr) {
        bits |= 0x800;
    }
    bits
}

/// What the emulator and the host disagree about.
fn differences(emulated: &Context, native: &Context, memory: bool) -> String {
    let mut list = Vec::new();
    for (i, (e, n)) in emulated.gprs.iter().zip(native.gprs).enumerate() {
        list.extend((*e != n).then(|| format!("gpr {i}: emulated {e:x}, host {n:x}")));
    }
    for (i, (e, n)) in emulated.xmm.iter().zip(native.xmm).enumerate() {
        list.extend((*e != n).then(|| format!("xmm {i}: emulated {e:032x}, host {n:032x}")));
    }
    for (name, e, n) in [("rflags", emulated.rflags, native.rflags), ("mxcsr", emulated.mxcsr, native.mxcsr)] {
        list.extend((e != n).then(|| format!("{name}: emulated {e:x}, host {n:x}")));
    }
    list.extend(memory.then(|| "memory".to_owned()));
    list.join("; ")
}

fn compare(seed: u64, rounds: u32, mxcsr: impl Fn(&mut ChaCha8Rng) -> u64, only_sse: bool) {
    let Some(host) = Host::new() else {
        println!("skipped: the host does not give this process the addresses the test needs");
        return;
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut factory = InstructionInfoFactory::new();
    let mut cpu = machine(Strategy::Interp, &[], 3);
    let mut seen = BTreeMap::<String, (u32, u32)>::new();
    let mut failures = Vec::new();
    for _ in 0..rounds {
        let Some((bytes, instruction)) = random_instruction(&mut rng, &mut factory) else { continue };
        let sse = instruction.cpuid_features().iter().any(|f| matches!(f, CpuidFeature::SSE | CpuidFeature::SSE2));
        if only_sse && !sse {
            continue;
        }
        let controls = mxcsr(&mut rng);
        let before = random_context(&mut rng, controls);
        let mut memory = [0; WINDOW];
        rng.fill_bytes(&mut memory);
        let (mut emulated, mut native) = (before, before);
        let (mut emulated_memory, mut native_memory) = (memory, memory);
        let entry = seen.entry(format!("{:?}", instruction.mnemonic())).or_default();
        if !emulate(&mut cpu, &bytes, &mut emulated, &mut emulated_memory) {
            entry.1 += 1;
            continue;
        }
        entry.0 += 1;
        host.run(&bytes, &mut native, &mut native_memory);
        native.gprs[Gpr::Rsp as usize] = emulated.gprs[Gpr::Rsp as usize];
        let defined = STATUS & !undefined_bits(&instruction, &before);
        let undefined_result = matches!(instruction.mnemonic(), Mnemonic::Bswap)
            && instruction.op0_register().size() == 2
            || (matches!(instruction.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd) && defined == 0);
        emulated.rflags &= defined;
        native.rflags &= defined;
        if !undefined_result && (emulated != native || emulated_memory != native_memory) {
            failures.push(format!(
                "{:?} {bytes:02x?} from {before:x?}: {}",
                instruction.code(),
                differences(&emulated, &native, emulated_memory != native_memory)
            ));
            if failures.len() >= 5 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let run = seen.values().filter(|(run, _)| *run > 0).count();
    let never: Vec<_> = seen.iter().filter(|(_, (run, _))| *run == 0).map(|(name, _)| name).collect();
    println!("{run} mnemonics compared; only ever faulted: {never:?}");
    assert!(run > if only_sse { 120 } else { 200 }, "{seen:?}");
}

// The tests share fixed addresses of the process, so they are one test.
#[test]
fn instructions_agree_with_the_host() {
    compare(1, 400_000, |_| 0x1f80, false);
    // SAFETY: the window mapped by the run before is no longer used.
    unsafe { libc::munmap(DATA as *mut libc::c_void, WINDOW) };
    // All rounding modes, flush-to-zero and denormals-are-zero.
    compare(2, 200_000, |rng| 0x1f80 | u64::from(rng.next_u32()) & 0xe040, true);
}
