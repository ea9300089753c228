//! The kernel command line of `docs/guest-contract.md`: options, then `--` and the program's `argv`.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest command line that is passed, in bytes. Linux's own limit on x86 is the same.
const MAX_BYTES: usize = 2048;

/// What cannot be put on a kernel command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// The contract's quoting knows no escapes.
    #[error("argument {0:?} contains a double quote, which the guest command line cannot carry; remove it")]
    Quote(String),
    /// A control character or a byte outside ASCII would not arrive as it is.
    #[error("argument {0:?} contains a character that is not printable ASCII; remove it")]
    Unprintable(String),
    /// Nobody would run.
    #[error("no process asked for; the guest kernel starts 1 or more")]
    NoProcess,
    /// All words together are too long.
    #[error("the guest command line is {0} bytes long, more than {MAX_BYTES}; pass shorter arguments")]
    TooLong(usize),
}

/// A guest's command line, to which an engine adds the options it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    options: String,
    argv: String,
}

impl CommandLine {
    /// The command line of `processes` processes whose `argv` is `name` and `args`.
    ///
    /// # Errors
    /// Where an argument cannot be expressed, or there is no process.
    pub fn new(processes: u32, name: &str, args: &[String]) -> Result<Self, CommandLineError> {
        if processes == 0 {
            return Err(CommandLineError::NoProcess);
        }
        let mut line = Self { options: format!("procs={processes}"), argv: String::new() };
        for word in std::iter::once(name).chain(args.iter().map(String::as_str)) {
            line.argv.push(' ');
            push_word(&mut line.argv, word)?;
        }
        Ok(line)
    }

    /// Adds `tsc_khz=`, the frequency of the time-stamp counter.
    #[must_use]
    pub fn tsc_khz(mut self, khz: u64) -> Self {
        write!(self.options, " tsc_khz={khz}").expect("writing to a String cannot fail");
        self
    }

    /// Adds `hz=`: the timer interrupts that often a second. 0 adds nothing.
    #[must_use]
    pub fn hz(mut self, hz: u32) -> Self {
        if hz != 0 {
            write!(self.options, " hz={hz}").expect("writing to a String cannot fail");
        }
        self
    }

    /// Adds `realtime=`, the time at which the guest starts: now.
    #[must_use]
    pub fn starting_now(self) -> Self {
        // A clock before 1970 is none.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.starting_at(now.as_nanos())
    }

    /// Adds `realtime=`: so many nanoseconds after 1970.
    #[must_use]
    pub fn starting_at(mut self, ns: u128) -> Self {
        write!(self.options, " realtime={ns}").expect("writing to a String cannot fail");
        self
    }

    /// Adds `env=`: an environment of so many bytes.
    #[must_use]
    pub fn environment(mut self, bytes: u32) -> Self {
        write!(self.options, " env={bytes}").expect("writing to a String cannot fail");
        self
    }

    /// Adds `hold`: the guest halts instead of ending the machine.
    #[must_use]
    pub fn hold(mut self) -> Self {
        self.options.push_str(" hold");
        self
    }

    /// The finished line.
    ///
    /// # Errors
    /// Where it is longer than `MAX_BYTES`.
    pub fn build(self) -> Result<String, CommandLineError> {
        let line = format!("{} --{}", self.options, self.argv);
        if line.len() > MAX_BYTES { Err(CommandLineError::TooLong(line.len())) } else { Ok(line) }
    }
}

/// Appends one word, quoted where it needs to be.
fn push_word(line: &mut String, word: &str) -> Result<(), CommandLineError> {
    if word.contains('"') {
        return Err(CommandLineError::Quote(word.to_owned()));
    }
    if !word.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(CommandLineError::Unprintable(word.to_owned()));
    }
    if word.is_empty() || word.contains(' ') {
        write!(line, "\"{word}\"").expect("writing to a String cannot fail");
    } else {
        line.push_str(word);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn options_come_before_the_arguments() {
        let line = CommandLine::new(2, "two_processes", &args(&["10", "a b", ""])).expect("it is a good line");
        let line = line.hz(0).hz(1000).environment(32).tsc_khz(2_500_000).hold().build().expect("it is short");
        assert_eq!(line, r#"procs=2 hz=1000 env=32 tsc_khz=2500000 hold -- two_processes 10 "a b" """#);
    }

    #[test]
    fn the_time_is_told() {
        let line =
            CommandLine::new(9, "p", &[]).expect("it is a good line").starting_now().build().expect("it is short");
        let ns =
            line.strip_prefix("procs=9 realtime=").and_then(|rest| rest.strip_suffix(" -- p")).expect("the option");
        let told: u64 = ns.parse().expect("nanoseconds");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        assert!(u128::from(told) <= now && now - u128::from(told) < 60_000_000_000, "{told} {now}");
    }

    #[test]
    fn an_argument_that_looks_like_an_option_stays_an_argument() {
        let line = CommandLine::new(1, "p", &args(&["--", "hold"])).expect("it is a good line");
        assert_eq!(line.build().expect("it is short"), "procs=1 -- p -- hold");
    }

    #[test]
    fn what_cannot_be_carried_is_named() {
        let quote = CommandLine::new(1, "p", &args(&["say \"hi\""])).expect_err("a quote cannot be carried");
        assert!(quote.to_string().contains("double quote"), "{quote}");
        let tab = CommandLine::new(1, "p", &args(&["a\tb"])).expect_err("a tab cannot be carried");
        assert!(tab.to_string().contains("printable"), "{tab}");
        assert!(CommandLine::new(1, "p", &args(&["é"])).is_err());
        assert_eq!(CommandLine::new(0, "p", &[]), Err(CommandLineError::NoProcess));
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let line = CommandLine::new(1, "p", &[("x").repeat(MAX_BYTES)]).expect("each word is good");
        let error = line.build().expect_err("it is too long");
        assert!(error.to_string().contains("more than 2048"), "{error}");
    }
}
