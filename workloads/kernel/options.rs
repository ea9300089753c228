//! The kernel command line: `[option ...] [-- argv0 arg1 ...]`.

use crate::console;
use crate::paging::PAGE;

/// What the options ask for.
pub struct Options {
    /// Processes to start from each module.
    pub processes: u64,
    /// Frequency of the time-stamp counter, or 0.
    pub tsc_khz: u64,
    /// The time now, nanoseconds since 1970, or 0.
    pub realtime: u64,
    /// Ticks of the timer per second, or 0.
    pub hz: u64,
    /// Bytes of each process's environment, if it has one or is to have room for one.
    pub environment: Option<u64>,
    /// Halt instead of writing the exit port.
    pub hold: bool,
    /// What follows `--`, NUL-terminated.
    pub arguments: *const u8,
}

/// One word of a command line: in double quotes it may hold spaces.
#[derive(Clone, Copy)]
pub struct Word {
    /// First byte.
    pub start: *const u8,
    /// How many bytes.
    pub len: usize,
}

/// The words of a NUL-terminated line.
pub struct Words(pub *const u8);

impl Iterator for Words {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        // SAFETY: the line ends in NUL, and no pointer goes past it.
        unsafe {
            while *self.0 == b' ' {
                self.0 = self.0.add(1);
            }
            if *self.0 == 0 {
                return None;
            }
            let mut until = b' ';
            if *self.0 == b'"' {
                until = b'"';
                self.0 = self.0.add(1);
            }
            let start = self.0;
            let mut len = 0;
            while *self.0 != 0 && *self.0 != until {
                self.0 = self.0.add(1);
                len += 1;
            }
            if *self.0 == b'"' && until == b'"' {
                self.0 = self.0.add(1);
            }
            Some(Word { start, len })
        }
    }
}

impl Word {
    /// The number behind `prefix`, if the word is `prefix` and decimal digits.
    fn number(self, prefix: &str) -> Option<u64> {
        if self.len <= prefix.len() || !self.begins(prefix) {
            return None;
        }
        let mut value: u64 = 0;
        let mut index = prefix.len();
        while index < self.len {
            // SAFETY: below the length.
            let digit = unsafe { *self.start.add(index) }.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            index += 1;
        }
        Some(value)
    }

    fn begins(self, prefix: &str) -> bool {
        if self.len < prefix.len() {
            return false;
        }
        let mut index = 0;
        while index < prefix.len() {
            // SAFETY: below both lengths.
            if unsafe { *self.start.add(index) != *prefix.as_ptr().add(index) } {
                return false;
            }
            index += 1;
        }
        true
    }

    fn is(self, text: &str) -> bool {
        self.len == text.len() && self.begins(text)
    }
}

/// Read the options; an unknown one is named on the console and otherwise ignored, as Linux does.
pub fn parse(line: *const u8) -> Options {
    let arguments = c"".as_ptr().cast();
    let mut options =
        Options { processes: 1, tsc_khz: 0, realtime: 0, hz: 0, environment: None, hold: false, arguments };
    let mut words = Words(line);
    while let Some(word) = words.next() {
        if word.is("--") {
            options.arguments = words.0;
            break;
        } else if word.is("hold") {
            options.hold = true;
        } else if let Some(number) = word.number("procs=") {
            options.processes = number;
        } else if let Some(number) = word.number("tsc_khz=") {
            options.tsc_khz = number;
        } else if let Some(number) = word.number("realtime=") {
            options.realtime = number;
        } else if let Some(number) = word.number("hz=") {
            options.hz = number;
        } else if let Some(number) = word.number("env=") {
            options.environment = Some(number);
        } else {
            console::text("kernel: unknown option '");
            // SAFETY: the word is readable.
            unsafe { console::bytes(word.start, word.len) };
            console::text("'\n");
        }
    }
    if options.processes == 0 {
        crate::machine::panic("procs= takes 1 or more");
    }
    if let Some(bytes) = options.environment {
        if bytes > PAGE || bytes % 16 != 0 {
            crate::machine::panic("env= takes a multiple of 16 up to 4096");
        }
    }
    options
}
