//! The micro-benchmarks: one event, n times, in ring 3 here or in ring 0 by the kernel that is built for them
//! (`kernel/micro.rs`). `docs/micro-benchmarks.md` says what each does.
#![no_std]
#![no_main]

#[path = "program/calls.rs"]
mod calls;
#[path = "program/code.rs"]
mod code;
#[path = "../src/event.rs"]
mod event;
#[path = "program/memory.rs"]
mod memory;
#[path = "program/noise.rs"]
mod noise;
#[path = "program/ring3.rs"]
mod ring3;

use event::Event;
use rt::{Checksum, Timed};

/// Most iterations before the region of interest begins: a translator has then translated what is hot, caches and TLB hold what
/// they will hold.
const WARM_UP: u64 = 512;

rt::program!(main, rt::sizes::MICRO);

fn main([event, ring, n]: [u64; 3]) {
    let Some(event) = Event::of(event) else {
        rt::fail(rt::EXIT_USAGE, format_args!("micro: there is no event {event}"))
    };
    let timed = if ring == 0 { ring0(event, n) } else { ring3::run(event, n) };
    // Of two processes only one measures.
    if let Some(timed) = timed {
        rt::finish(Checksum::of([event as u64, ring, n]), timed.ticks);
    }
}

/// Has the kernel do it.
fn ring0(event: Event, n: u64) -> Option<Timed<()>> {
    let page = rt::map::<u8>(rt::PAGE_BYTES);
    page[0] = 1;
    let at = page.as_ptr() as usize;
    if let Err(errno) = calls::prepare(event, at) {
        refused(event, "ring 0", errno);
    }
    let run = |times| {
        if let Err(errno) = calls::run(times) {
            refused(event, "ring 0", errno);
        }
    };
    run(n.min(WARM_UP));
    Some(rt::roi(|| run(n)))
}

/// Ends the program: the kernel does not do that.
fn refused(event: Event, what: &str, errno: rt::syscall::Errno) -> ! {
    let (name, errno) = (event.name(), errno.0);
    rt::fail(
        rt::EXIT_USAGE,
        format_args!("micro: the kernel refuses {name} ({what}, error {errno}); evlab micro starts the right one"),
    )
}
