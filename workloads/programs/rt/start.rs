//! From the stack that the kernel prepared to the program's `main`.

use core::fmt::Write;
use core::panic::PanicInfo;

use crate::console::{Line, Text, fail};
use crate::param::{BadValue, Param};
use crate::roi::ask_for_laps;
use crate::sizes::{LAPS, LAPS_PREFIX};
use crate::{EXIT_PANIC, EXIT_USAGE, PAGE_BYTES, syscall};

/// Reads the arguments, runs `main` and exits with code 0. Where the program can do `laps`, the last argument may ask for
/// them.
///
/// # Safety
/// `stack` points at argc, followed by the pointers of argv, as the System V ABI lays them out at process entry.
pub unsafe fn start<const N: usize>(
    stack: *const usize,
    name: &str,
    params: &[Param; N],
    laps: bool,
    main: fn([u64; N]),
) -> ! {
    // SAFETY: argc is there by the caller's promise.
    let argc = unsafe { *stack };
    // The program's own name is no argument; argc may be 0.
    let mut given = argc.saturating_sub(1);
    if given > 0 {
        // SAFETY: argv follows argc, and its last word is argv[given].
        let last = unsafe { c_string(*stack.add(1 + given) as *const u8) };
        if let Some(word) = last.strip_prefix(LAPS_PREFIX.as_bytes()).filter(|_| laps) {
            ask_for_laps(LAPS.parse(word).unwrap_or_else(|why| reject(name, &LAPS, word, why)));
            given -= 1;
        }
    }
    if given > N {
        fail(EXIT_USAGE, format_args!("{name}: {given} arguments are given; give at most {N}"));
    }
    let mut values = [0; N];
    for (i, (value, param)) in values.iter_mut().zip(params).enumerate() {
        *value = if i < given {
            // SAFETY: argv follows argc, and argv[i + 1] is below argc.
            let word = unsafe { c_string(*stack.add(2 + i) as *const u8) };
            param.parse(word).unwrap_or_else(|why| reject(name, param, word, why))
        } else {
            param.default
        };
    }
    touch_image();
    main(values);
    syscall::exit(0)
}

unsafe extern "C" {
    /// First byte of the program, placed by the linker script.
    static image_start: u8;
    /// One past its last byte.
    static image_end: u8;
}

/// Reads a byte of each page of the program, so that no region of interest begins with page faults for its code.
fn touch_image() {
    let (start, end) = ((&raw const image_start) as usize, (&raw const image_end) as usize);
    for page in (start..end).step_by(PAGE_BYTES) {
        // SAFETY: the program's segments are readable and fill the pages between the two symbols.
        unsafe { (page as *const u8).read_volatile() };
    }
}

fn reject(name: &str, param: &Param, word: &[u8], why: BadValue) -> ! {
    let (given, p) = (Text(word), param.name);
    match why {
        BadValue::NotANumber => fail(EXIT_USAGE, format_args!("{name}: {p} is '{given}'; give a decimal number")),
        BadValue::OutOfRange => {
            let (min, max) = (param.min, param.max);
            fail(EXIT_USAGE, format_args!("{name}: {p} is {given}; give a number from {min} to {max}"))
        }
    }
}

/// # Safety
/// `text` points at bytes that end with a zero byte and stay unchanged.
unsafe fn c_string(text: *const u8) -> &'static [u8] {
    let mut len = 0;
    // SAFETY: every byte up to the zero byte is readable by the caller's promise.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    // SAFETY: the loop has just read these bytes.
    unsafe { core::slice::from_raw_parts(text, len) }
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut line = Line::new();
    // A line drops what does not fit and never fails.
    let _ = match info.location() {
        Some(at) => writeln!(line, "panic at {}:{}: {}", at.file(), at.line(), info.message()),
        None => writeln!(line, "panic: {}", info.message()),
    };
    line.write_to(syscall::STDERR);
    syscall::exit(EXIT_PANIC)
}
