//! What a guest writes on its console, and the two lines of it that mean something.

/// Most console text that is kept, bytes. A guest may write without end; its `result` line counts wherever it stands.
const MAX_TEXT: usize = 1 << 20;

/// Longest line that can be a `result` or `ticks` line: a keyword and at most 20 digits.
const MAX_LINE: usize = 32;

/// A console that is being written.
#[derive(Debug, Default)]
pub(super) struct Console {
    text: Vec<u8>,
    dropped: u64,
    line: Vec<u8>,
    line_too_long: bool,
    checksum: Option<String>,
    ticks: Option<u64>,
}

impl Console {
    /// Takes in the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(MAX_TEXT - self.text.len());
        self.text.extend_from_slice(&bytes[..kept]);
        self.dropped += (bytes.len() - kept) as u64;
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            } else {
                self.line_too_long = true;
            }
        }
    }

    /// Whether `words` stand in what has been written and kept.
    pub(super) fn contains(&self, words: &str) -> bool {
        self.text.windows(words.len()).any(|window| window == words.as_bytes())
    }

    /// Ends the console: a last line needs no line feed.
    pub(super) fn finish(mut self) -> Transcript {
        self.end_line();
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!("\n[{} more bytes were not kept]\n", self.dropped));
        }
        Transcript { text, checksum: self.checksum, ticks: self.ticks }
    }

    fn end_line(&mut self) {
        if !self.line_too_long {
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            if let Some(checksum) = result_line(line) {
                self.checksum = Some(checksum);
            } else if let Some(ticks) = ticks_line(line) {
                self.ticks = Some(ticks);
            }
        }
        self.line.clear();
        self.line_too_long = false;
    }
}

/// A console whose run has ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Transcript {
    /// Everything written, the `result` and `ticks` lines included.
    pub(super) text: String,
    /// The checksum of the last `result` line, in lower case.
    pub(super) checksum: Option<String>,
    /// The number of the last `ticks` line.
    pub(super) ticks: Option<u64>,
}

/// `result <16 hexadecimal digits>`.
fn result_line(line: &[u8]) -> Option<String> {
    let digits = line.strip_prefix(b"result ")?;
    if digits.len() != 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some(String::from_utf8_lossy(digits).to_ascii_lowercase())
}

/// `ticks <decimal>`.
fn ticks_line(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"ticks ")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transcript(bytes: &[u8]) -> Transcript {
        let mut console = Console::default();
        console.write(bytes);
        console.finish()
    }

    #[test]
    fn the_two_lines_are_found() {
        let t = transcript(b"hello\nresult 0123456789abCDEF\r\nticks 42");
        assert_eq!(t.checksum.as_deref(), Some("0123456789abcdef"));
        assert_eq!(t.ticks, Some(42));
        assert_eq!(t.text, "hello\nresult 0123456789abCDEF\r\nticks 42");
    }

    #[test]
    fn the_last_valid_line_counts() {
        let t = transcript(b"result 0000000000000001\nresult 0000000000000002\nresult 3\nticks 1\nticks -2\n");
        assert_eq!(t.checksum.as_deref(), Some("0000000000000002"));
        assert_eq!(t.ticks, Some(1));
    }

    #[test]
    fn what_only_looks_like_a_line_is_program_output() {
        for text in [
            "result 0123456789abcde\n",
            "result 0123456789abcdef0\n",
            "result 0123456789abcdeg\n",
            " result 0123456789abcdef\n",
            "result  123456789abcdef\n",
            "result 0123456789abcdef and more text behind it\n",
            "ticks \n",
            "ticks +1\n",
            "ticks 99999999999999999999\n",
        ] {
            let t = transcript(text.as_bytes());
            assert_eq!((t.checksum, t.ticks), (None, None), "{text:?}");
        }
    }

    #[test]
    fn text_without_end_is_bounded_and_the_result_still_found() {
        let mut console = Console::default();
        for _ in 0..20 {
            console.write(&[b'x'; 100_000]);
        }
        console.write(b"\nresult 00000000000000ff\n");
        let t = console.finish();
        assert!(t.text.len() < MAX_TEXT + 100, "{}", t.text.len());
        assert!(t.text.ends_with("more bytes were not kept]\n"));
        assert_eq!(t.checksum.as_deref(), Some("00000000000000ff"));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let at = at.min(bytes.len());
            let mut console = Console::default();
            console.write(&bytes[..at]);
            console.write(&bytes[at..]);
            prop_assert_eq!(console.finish(), transcript(&bytes));
        }

        #[test]
        fn any_result_is_found_between_any_lines(value: u64, before in "[ -~\n]{0,80}", after in "[a-q \n]{0,80}") {
            let t = transcript(format!("{before}\nresult {value:016x}\n{after}").as_bytes());
            prop_assert_eq!(t.checksum, Some(format!("{value:016x}")));
        }
    }
}
