//! Where the guest's console goes, to standard output or into gdb, and what evlab itself says into gdb: both as `O` packets.

use std::fs::File;
use std::io::{self, Write};

/// Bytes of a line that is sent before its end.
const LONGEST: usize = 512;

/// The guest's console.
#[derive(Debug)]
pub(super) struct Console {
    /// To gdb; `None` if it is gone.
    connection: Option<&'static File>,
    /// The guest's text goes there.
    in_gdb: bool,
    /// A line of it that has no end yet.
    line: Vec<u8>,
    /// Why a breakpoint was refused last.
    refusal: Option<String>,
}

impl Console {
    pub(super) const fn new(connection: &'static File, in_gdb: bool) -> Self {
        Self { connection: Some(connection), in_gdb, line: Vec::new(), refusal: None }
    }

    /// Prints what the guest wrote.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        if !self.in_gdb {
            let mut out = io::stdout().lock();
            // Whoever reads it may have left; the guest is debugged all the same.
            let _ = out.write_all(bytes).and_then(|()| out.flush());
            return;
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() >= LONGEST || bytes.contains(&b'\n') {
            self.flush();
        }
    }

    /// Says something to gdb's user. Only while gdb waits for the guest.
    pub(super) fn say(&mut self, text: &str) {
        self.flush();
        self.send(text.as_bytes());
    }

    /// Sends what has no end yet. Only while gdb waits for the guest.
    pub(super) fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.send(&line);
        }
    }

    fn send(&mut self, text: &[u8]) {
        if let Some(connection) = &mut self.connection
            && connection.write_all(&packet(text)).is_err()
        {
            self.connection = None;
        }
    }

    /// Keeps why something was refused: gdb itself shows no more than that it was.
    pub(super) fn refuse(&mut self, why: String) {
        self.refusal = Some(why);
    }

    /// Why something was refused last.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// gdb is gone: what follows goes to standard output.
    pub(super) fn detach(&mut self) {
        self.connection = None;
        self.in_gdb = false;
        let line = std::mem::take(&mut self.line);
        self.print(&line);
    }
}

/// An `O` packet: text for gdb's console.
fn packet(text: &[u8]) -> Vec<u8> {
    let mut body = String::from("O");
    for byte in text {
        body.push_str(&format!("{byte:02x}"));
    }
    let sum = body.bytes().fold(0u8, u8::wrapping_add);
    format!("${body}#{sum:02x}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn gdb_gets_whole_lines() {
        let mut file: &'static File = Box::leak(Box::new(tempfile::tempfile().unwrap()));
        let mut console = Console::new(file, true);
        let mut sent = || {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        console.print(b"h");
        assert_eq!(sent(), "");
        console.print(b"i\n");
        assert_eq!(sent(), "$O68690a#bd");
        console.print(&[b'a'; LONGEST]);
        console.print(b"b");
        console.say("c");
        assert_eq!(sent().matches("$O").count(), 4);
        assert!(sent().ends_with("$O62#b7$O63#b8"), "{}", sent());
    }
}
