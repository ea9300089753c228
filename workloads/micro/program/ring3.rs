//! The events of ring 3.

use core::arch::global_asm;

use rt::syscall::{self, getpid, sched_yield};
use rt::{PAGE_BYTES, Timed};

use crate::code::{self, Branch, CHAIN};
use crate::event::Event;
use crate::{WARM_UP, calls, memory, noise, refused};

global_asm!(include_str!("../common.s"), include_str!("../ring3.s"), include_str!("../arithmetic.s"));

/// The port that machines of the contract answer and ignore.
const PORT: u16 = 0x80;
/// An address that no mapping holds.
const UNMAPPED: usize = 0x1000;
/// Pages of the chain that misses the TLB: more than any second-level TLB of today holds.
const CHAIN_PAGES: usize = 8192;

/// Times, and three operands.
type Routine = unsafe extern "C" fn(u64, usize, usize, usize);

macro_rules! routines {
    ($($name:ident)*) => {
        unsafe extern "C" {
            $(fn $name(times: u64, a: usize, b: usize, c: usize);)*
        }
    };
}

routines! {
    micro_loop micro_loop_move micro_loop_random micro_cpuid micro_rdtsc micro_sgdt micro_sidt micro_pushf micro_port_out
    micro_port_in micro_mmio_write micro_mmio_read micro_divide micro_undefined micro_breakpoint micro_interrupt
    micro_data_fault micro_fetch_fault micro_syscall micro_yield micro_protect micro_page_fault micro_chase
    micro_integer micro_multiply micro_quotient micro_load micro_store micro_float micro_float_packed micro_float_divide micro_vector
    micro_unforeseen micro_copy_string micro_fill_string micro_search_string micro_compare_string
    micro_random_read micro_independent_read micro_stream_read micro_stream_write micro_unmap micro_call_ret micro_self_modify micro_generated micro_timer_period
}

/// Does the event n times; nothing where another process measures it.
pub(crate) fn run(event: Event, n: u64) -> Option<Timed<()>> {
    Some(match event {
        Event::Loop => time(micro_loop, n, [0; 3]),
        Event::LoopMove => time(micro_loop_move, n, [0; 3]),
        Event::LoopRandom => time(micro_loop_random, n, [0, 0, memory::LARGE_MASK]),
        Event::Cpuid => time(micro_cpuid, n, [0; 3]),
        Event::Rdtsc => time(micro_rdtsc, n, [0; 3]),
        Event::Sgdt => time(micro_sgdt, n, [scratch(), 0, 0]),
        Event::Sidt => time(micro_sidt, n, [scratch(), 0, 0]),
        Event::Pushf => time(micro_pushf, n, [0; 3]),
        Event::PortOut => port(event, micro_port_out, n),
        Event::PortIn => port(event, micro_port_in, n),
        Event::MmioWrite => mmio(event, micro_mmio_write, n),
        Event::MmioRead => mmio(event, micro_mmio_read, n),
        Event::Syscall => time(micro_syscall, n, [0; 3]),
        Event::Interrupt => exception(event, micro_interrupt, 4, n),
        Event::Breakpoint => exception(event, micro_breakpoint, 3, n),
        Event::Divide => exception(event, micro_divide, 0, n),
        Event::Undefined => exception(event, micro_undefined, 6, n),
        Event::DataFault => exception(event, micro_data_fault, 14, n),
        Event::FetchFault => exception(event, micro_fetch_fault, 14, n),
        Event::PageFault => page_faults(n),
        Event::Unmap => time(micro_unmap, n, [0; 3]),
        Event::Protect => time(micro_protect, n, [scratch(), 0, 0]),
        Event::TlbHit | Event::Hot4K => time(micro_chase, n, [memory::one_word(), 0, 0]),
        Event::TlbMiss => time(micro_chase, n, [memory::chain_over_pages(CHAIN_PAGES), 0, 0]),
        Event::Cold4K => time(micro_random_read, n, [0, memory::in_small_pages(), memory::LARGE_MASK]),
        Event::Within256K => within(micro_random_read, n, 256 << 10),
        Event::Within2M => within(micro_random_read, n, 2 << 20),
        Event::Within16M => within(micro_random_read, n, 16 << 20),
        Event::Independent => within(micro_independent_read, n, memory::LARGE_BYTES),
        Event::StreamRead => within(micro_stream_read, n, memory::LARGE_BYTES),
        Event::StreamNear => within(micro_stream_read, n, 16 << 20),
        Event::StreamWrite => within(micro_stream_write, n, memory::LARGE_BYTES),
        Event::Hot2M => time(micro_random_read, n, [0, memory::in_large_pages(), PAGE_BYTES - 64]),
        Event::Cold2M => time(micro_random_read, n, [0, memory::in_large_pages(), memory::LARGE_MASK]),
        Event::CallRet => time(micro_call_ret, n, [0; 3]),
        Event::Direct => generated(n, CHAIN, 0, 32, Branch::Direct),
        Event::DirectPages => generated(n, CHAIN, 0, PAGE_BYTES, Branch::Direct),
        Event::Indirect => generated(n, CHAIN, 0, 32, Branch::Indirect),
        Event::IndirectPages => generated(n, CHAIN, 0, PAGE_BYTES, Branch::Indirect),
        Event::SmallBlocks => generated(n, CHAIN, 4, 32, Branch::Direct),
        Event::LargeBlocks => generated(n, CHAIN, 128, 448, Branch::Direct),
        Event::ColdSmall => cold(n, 4, 32),
        Event::ColdLarge => cold(n, 128, 448),
        Event::SelfModify => time(micro_self_modify, n, [code::constant(), 0, 0]),
        Event::Integer => time(micro_integer, n, [0; 3]),
        Event::Multiply => time(micro_multiply, n, [0; 3]),
        Event::Quotient => time(micro_quotient, n, [0; 3]),
        Event::Load => time(micro_load, n, [scratch(), 0, 0]),
        Event::Store => time(micro_store, n, [scratch(), 0, 0]),
        Event::Float => time(micro_float, n, [0; 3]),
        Event::FloatPacked => time(micro_float_packed, n, [0; 3]),
        Event::FloatDivide => time(micro_float_divide, n, [0; 3]),
        Event::Vector => time(micro_vector, n, [0; 3]),
        Event::Unforeseen => time(micro_unforeseen, n, [0; 3]),
        Event::CopyString => time(micro_copy_string, n, [scratch(), 0, 0]),
        Event::FillString => time(micro_fill_string, n, [scratch(), 0, 0]),
        Event::SearchString => time(micro_search_string, n, [scratch(), 0, 0]),
        Event::CompareString => time(micro_compare_string, n, [scratch(), 0, 0]),
        Event::Yield => return yields(n),
        Event::TimerPeriod => time_cold(micro_timer_period, n, [0, calls::CATCH, 0]),
        Event::Tick | Event::Noise => noise::watch(n),
        _ => refused(event, "ring 3", syscall::Errno(22)),
    })
}

/// Times n iterations after a few that are not timed.
fn time(routine: Routine, n: u64, operands: [usize; 3]) -> Timed<()> {
    warm_up(routine, n, operands);
    time_cold(routine, n, operands)
}

fn warm_up(routine: Routine, n: u64, [a, b, c]: [usize; 3]) {
    // SAFETY: the routines keep the registers of the C convention; their operands are what `ring3.s` and `common.s` ask for.
    unsafe { routine(n.min(WARM_UP), a, b, c) };
}

/// Times n iterations, the first ones that there are.
fn time_cold(routine: Routine, n: u64, [a, b, c]: [usize; 3]) -> Timed<()> {
    // SAFETY: as above.
    rt::roi(|| unsafe { routine(n, a, b, c) })
}

/// A page that was written to.
fn scratch() -> usize {
    let page = rt::map::<u8>(PAGE_BYTES);
    page[0] = 1;
    page.as_ptr() as usize
}

/// First touches of pages; those of the warm-up are others.
fn page_faults(n: u64) -> Timed<()> {
    let pages = |count: u64| [rt::map::<u8>(count as usize * PAGE_BYTES).as_ptr() as usize, 0, 0];
    warm_up(micro_page_fault, n, pages(n.min(WARM_UP)));
    time_cold(micro_page_fault, n, pages(n))
}

/// Accesses to an area of so many bytes, a power of two, each of whose lines was touched.
fn within(routine: Routine, n: u64, bytes: usize) -> Timed<()> {
    time(routine, n, [0, memory::in_lines(bytes), bytes - 64])
}

fn port(event: Event, routine: Routine, n: u64) -> Timed<()> {
    if let Err(errno) = syscall::ioperm(PORT) {
        refused(event, "the port", errno);
    }
    time(routine, n, [0; 3])
}

fn mmio(event: Event, routine: Routine, n: u64) -> Timed<()> {
    match calls::map_nowhere() {
        Ok(address) => time(routine, n, [address, 0, 0]),
        Err(errno) => refused(event, "the page", errno),
    }
}

fn exception(event: Event, routine: Routine, vector: usize, n: u64) -> Timed<()> {
    // SAFETY: the routine sets R14 before it raises the exception, and nothing else raises it: all pages are touched.
    let set = |on| unsafe { calls::catch(vector, on) };
    if let Err(errno) = set(true) {
        refused(event, "the handler", errno);
    }
    let timed = time(routine, n, [UNMAPPED, 0, 0]);
    // What follows may fault as it always may.
    match set(false) {
        Ok(_) => timed,
        Err(errno) => refused(event, "the handler", errno),
    }
}

fn generated(rounds: u64, blocks: usize, additions: usize, stride: usize, branch: Branch) -> Timed<()> {
    let code = code::chain(blocks, additions, stride, branch);
    time(micro_generated, rounds, [code.entry, code.table, 0])
}

/// Blocks that run once.
fn cold(blocks: u64, additions: usize, stride: usize) -> Timed<()> {
    let code = code::chain(blocks as usize, additions, stride, Branch::Direct);
    time_cold(micro_generated, 1, [code.entry, code.table, 0])
}

/// Two processes that yield to each other; the first measures.
fn yields(n: u64) -> Option<Timed<()>> {
    sched_yield(); // both have started
    if getpid() == 1 {
        return Some(time(micro_yield, n, [0; 3]));
    }
    // As often as process 1, so that it always has somebody to switch to, and both end.
    warm_up(micro_yield, n, [0; 3]);
    // SAFETY: the routine keeps the registers of the C convention.
    unsafe { micro_yield(n, 0, 0, 0) };
    None
}
