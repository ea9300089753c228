//! From PVH modules to processes that are ready to run.

use core::arch::asm;

use crate::elf::{Elf, HEADER_SIZE, Segment};
use crate::options::{Options, Words};
use crate::paging::{BORROWED, PAGE, direct};
use crate::process::Process;
use crate::region::{READ, Region, WRITABLE, page_bits};
use crate::start_info::{Module, StartInfo};
use crate::{console, frames, machine};

const STACK_TOP: u64 = 0x7fff_ffff_f000;
const STACK_SIZE: u64 = 8 << 20;
/// Mapped at once where there may be an environment, which has a page at most: the arguments' page, and one more.
const STACK_WITH_ENVIRONMENT: u64 = 3 * PAGE;
const MAX_ARGUMENTS: usize = 64;
/// Exit code when a module cannot be executed, as a shell reports it.
const CANNOT_EXECUTE: u8 = 126;

unsafe extern "C" {
    fn boot_copy(to: *mut u8, from: *const u8, len: usize);
}

/// Make the processes that the loader and the options ask for.
pub fn start(boot: &StartInfo, options: &Options) {
    if boot.module_count() == 0 {
        machine::panic("no program: the loader passed no module");
    }
    let mut index = 0;
    while index < boot.module_count() {
        let module = boot.module(index);
        let mut copy = 0;
        while copy < options.processes {
            if let Err(why) = spawn(&module, copy == 0, options) {
                console::text("kernel: cannot execute module ");
                console::decimal(u64::from(index));
                console::text(": ");
                console::text(why);
                console::text("\n");
                machine::exit(CANNOT_EXECUTE, options.hold);
            }
            copy += 1;
        }
        index += 1;
    }
}

/// One process from `module`. The first one uses the module's pages in place, even where it writes to them.
fn spawn(module: &Module, first: bool, options: &Options) -> Result<(), &'static str> {
    // SAFETY: the loader says that the module is there.
    let elf = unsafe { Elf::new(direct(module.addr), module.size)? };
    // SAFETY: the process is new, and nobody else has it.
    let process = unsafe { &mut *Process::create() };
    let mut heap = 0;
    let mut header = 0;
    while header < elf.header_count() {
        if let Some(segment) = elf.segment(header)? {
            load(process, module, &segment, first)?;
            heap = heap.max(page_up(segment.start + segment.memory_size));
        }
        header += 1;
    }
    if heap == 0 {
        return Err("it has no segment to load");
    }
    process.heap_start = heap;
    process.heap_end = heap;
    let stack = Region { start: STACK_TOP - STACK_SIZE, end: STACK_TOP, protection: READ | WRITABLE };
    process.regions.add(stack);
    let arguments = if module.cmdline == 0 { options.arguments } else { direct(module.cmdline) };
    let top = first_stack(process, &elf, arguments, options.environment)?;
    process.prepare(elf.entry(), top);
    Ok(())
}

const fn page_up(address: u64) -> u64 {
    (address + PAGE - 1) & !(PAGE - 1)
}

/// Map one segment: whole pages of the file in place, partly filled pages that may be written as copies, and leave the
/// rest to demand paging.
fn load(process: &mut Process, module: &Module, segment: &Segment, first: bool) -> Result<(), &'static str> {
    let file_end = segment.start + segment.file_size;
    let memory_end = segment.start + segment.memory_size;
    let mut page = segment.start & !(PAGE - 1);
    if !process.regions.is_free(page, page_up(memory_end)) {
        process.regions.cut(page, page_up(memory_end)); // as under Linux, the later segment wins
    }
    let region = Region { start: page, end: page_up(memory_end), protection: segment.protection };
    if !process.regions.has_room() || !process.regions.add(region) {
        return Err("it has too many segments");
    }
    let bits = page_bits(segment.protection);
    // File data of `va` is at this physical address plus `va`.
    let delta = module.addr.wrapping_add(segment.offset).wrapping_sub(segment.start);
    let aligned = delta % PAGE == 0;
    let writable = segment.protection & WRITABLE != 0;
    let space = process.space();
    while page < file_end {
        let from = page.max(segment.start);
        let until = (page + PAGE).min(file_end);
        let whole = until - from == PAGE;
        let zero_tail = until < page + PAGE && memory_end > until;
        let in_place = aligned && !zero_tail && (!writable || (whole && first));
        let entry = if in_place {
            page.wrapping_add(delta) | bits | BORROWED
        } else {
            let frame = frames::allocate_table();
            let from_phys = from.wrapping_add(delta);
            // SAFETY: the frame is ours, and the file bytes are within the module.
            unsafe { boot_copy(direct(frame + (from - page)), direct(from_phys), (until - from) as usize) };
            frame | bits
        };
        if bits != 0 {
            space.map(page, entry);
        }
        page += PAGE;
    }
    Ok(())
}

/// Build argc, argv, envp and auxv (System V ABI, AMD64 supplement, 3.4.1) at the top of the stack: in its topmost page, or,
/// below an environment, wherever that ends. There are then always so many pages below it that its size decides no page
/// fault of a program that uses little of the stack.
fn first_stack(
    process: &mut Process,
    elf: &Elf,
    arguments: *const u8,
    environment: Option<u64>,
) -> Result<u64, &'static str> {
    const TOO_LONG: &str = "its arguments do not fit into one page";
    let size = if environment.is_some() { STACK_WITH_ENVIRONMENT } else { PAGE };
    let frame = frames::allocate_neighbours(size / PAGE);
    let bottom = STACK_TOP - size;
    let mut offset = 0;
    while offset < size {
        process.space().map(bottom + offset, (frame + offset) | page_bits(READ | WRITABLE));
        offset += PAGE;
    }
    let base = direct(frame);

    // Strings from the top down, words from the bottom up once their number is known.
    let mut argv = [0u64; MAX_ARGUMENTS];
    let mut argc = 0;
    let mut text = size;
    let mut string = 0;
    if let Some(bytes @ 1..) = environment {
        text -= bytes;
        string = bottom + text;
        // SAFETY: 16 to 4096 bytes, a multiple of 8, up to the end of the frames.
        unsafe { environment_string(base.add(text as usize).cast(), bytes) };
    }
    let end = text - PAGE;
    let unnamed = Words(arguments).next().is_none();
    let words = Words(if unnamed { c"program".as_ptr().cast() } else { arguments });
    for word in words {
        if argc == MAX_ARGUMENTS || (word.len as u64) + 1024 > text - end {
            return Err(TOO_LONG);
        }
        text -= word.len as u64 + 1;
        // SAFETY: the bytes lie in the frames, above 1 KiB, and `argc` is below the array's length.
        unsafe {
            boot_copy(base.add(text as usize), word.start, word.len);
            *argv.as_mut_ptr().add(argc) = bottom + text;
        }
        argc += 1;
    }
    text = (text & !15) - 16; // AT_RANDOM: 16 bytes, the same in every run
    let random = bottom + text;
    const AUXV_WORDS: u64 = 14;
    let words = 1 + argc as u64 + 1 + u64::from(string != 0) + 1 + AUXV_WORDS;
    let start = (text - words * 8) & !15;
    // SAFETY: at most 82 words below the strings, which stay above 1 KiB.
    unsafe {
        let mut at: *mut u64 = base.add(start as usize).cast();
        let mut put = |word: u64| {
            at.write_volatile(word); // word by word: see main.rs on SSE
            at = at.add(1);
        };
        put(argc as u64);
        let mut index = 0;
        while index < argc {
            put(*argv.as_ptr().add(index));
            index += 1;
        }
        put(0);
        if string != 0 {
            put(string);
        }
        put(0);
        let mut auxiliary = |kind: u64, value: u64| {
            put(kind);
            put(value);
        };
        auxiliary(3, headers_address(elf)); // AT_PHDR
        auxiliary(4, HEADER_SIZE); // AT_PHENT
        auxiliary(5, elf.header_count()); // AT_PHNUM
        auxiliary(6, PAGE); // AT_PAGESZ
        auxiliary(9, elf.entry()); // AT_ENTRY
        auxiliary(25, random); // AT_RANDOM
        auxiliary(0, 0); // AT_NULL
    }
    Ok(bottom + start)
}

/// Write the environment's one string, `E=xxx...`, with its end: `bytes` in all, a multiple of 8.
unsafe fn environment_string(start: *mut u64, bytes: u64) {
    const FILL: u64 = u64::from_le_bytes(*b"xxxxxxxx");
    // SAFETY: the caller has the memory. One instruction, since each may cost a microsecond in ring 0.
    unsafe {
        asm!("rep stosq", inout("rdi") start => _, inout("rcx") bytes / 8 => _, in("rax") FILL, options(nostack));
        start.write_volatile(u64::from_le_bytes(*b"E=xxxxxx"));
        start.add(bytes as usize / 8 - 1).write_volatile(FILL >> 8);
    }
}

/// Where the program headers are in memory, or 0 if no segment holds them.
fn headers_address(elf: &Elf) -> u64 {
    let table = elf.table_offset();
    let mut header = 0;
    while header < elf.header_count() {
        if let Ok(Some(segment)) = elf.segment(header) {
            if segment.offset <= table && table - segment.offset < segment.file_size {
                return segment.start + (table - segment.offset);
            }
        }
        header += 1;
    }
    0
}
