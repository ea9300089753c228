//! The marker channel: what the guest reports of its own progress, one byte a write (QEMU: `isa-debugcon`).

/// The port.
pub(crate) const PORT: u16 = 0xe9;

/// What a byte on the channel means, given all that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// The first `U`: the guest is about to enter ring 3.
    Ring3,
    /// The first `B`: the region of interest begins.
    Begin,
    /// The first `E` after it: the region of interest ends.
    End,
    /// `X` and two digits: the exit code; the guest has nothing more to say.
    ExitCode(u8),
}

/// Reads the channel. Only the first marker of each kind counts, in the order U, B, E, X; the rest is ignored.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    ring3: bool,
    begun: bool,
    ended: bool,
    exit: ExitCode,
}

#[derive(Debug, Default, Clone, Copy)]
enum ExitCode {
    #[default]
    None,
    Announced,
    HighDigit(u8),
    Complete,
}

impl Channel {
    /// Takes one byte; says what it means, if anything.
    pub(crate) fn take(&mut self, byte: u8) -> Option<Marker> {
        match (self.exit, byte) {
            (ExitCode::Complete, _) => None,
            (ExitCode::Announced, b) => {
                self.exit = digit(b).map_or(ExitCode::None, ExitCode::HighDigit);
                None
            }
            (ExitCode::HighDigit(high), b) => {
                let code = digit(b).map(|low| high << 4 | low);
                self.exit = if code.is_some() { ExitCode::Complete } else { ExitCode::None };
                code.map(Marker::ExitCode)
            }
            (ExitCode::None, b'X') => {
                self.exit = ExitCode::Announced;
                None
            }
            (ExitCode::None, b'U') => first(&mut self.ring3, Marker::Ring3),
            (ExitCode::None, b'B') => first(&mut self.begun, Marker::Begin),
            (ExitCode::None, b'E') if self.begun => first(&mut self.ended, Marker::End),
            (ExitCode::None, _) => None,
        }
    }
}

fn first(seen: &mut bool, event: Marker) -> Option<Marker> {
    (!std::mem::replace(seen, true)).then_some(event)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8]) -> Vec<Marker> {
        let mut channel = Channel::default();
        bytes.iter().filter_map(|&b| channel.take(b)).collect()
    }

    #[test]
    fn a_whole_run() {
        assert_eq!(events(b"UBEX2a"), [Marker::Ring3, Marker::Begin, Marker::End, Marker::ExitCode(0x2a)]);
    }

    #[test]
    fn only_the_first_of_each_in_order_counts() {
        assert_eq!(events(b"EBBUUEEB"), [Marker::Begin, Marker::Ring3, Marker::End]);
    }

    #[test]
    fn a_malformed_exit_code_is_none() {
        assert_eq!(events(b"XG"), []);
        assert_eq!(events(b"X0GB"), [Marker::Begin]);
        assert_eq!(events(b"XA0"), []);
        assert_eq!(events(b"X00X01B"), [Marker::ExitCode(0)]);
    }
}
