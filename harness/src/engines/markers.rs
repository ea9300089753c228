//! The marker channel: single bytes, timestamped as they arrive.

use std::time::Instant;

use vmm_min::Roi;

use super::cpu_time::{Executes, Sample};
use crate::model::Counter;

/// What has arrived on a marker channel.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Markers {
    /// `U`: the guest is about to enter ring 3 for the first time.
    pub(super) ring3: Option<Instant>,
    begin: Option<Instant>,
    end: Option<Instant>,
    exit: Exit,
    /// The process to look at when the region of interest begins and ends.
    watched: Option<u32>,
    at_begin: Option<Sample>,
    at_end: Option<Sample>,
}

/// Progress of `X` and its two digits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Exit {
    #[default]
    None,
    Announced,
    HighDigit(u8),
    Code(u8),
}

impl Markers {
    /// Takes in the next byte, which arrived at `at`. Bytes that mean nothing where they stand are ignored.
    pub(super) fn take(&mut self, byte: u8, at: Instant) {
        self.exit = match (self.exit, hex_digit(byte)) {
            (Exit::Code(_), _) => return,
            (Exit::Announced, Some(digit)) => Exit::HighDigit(digit),
            (Exit::HighDigit(high), Some(low)) => Exit::Code(high << 4 | low),
            _ if byte == b'X' => Exit::Announced,
            _ => Exit::None,
        };
        let slot = match byte {
            b'U' => &mut self.ring3,
            b'B' => &mut self.begin,
            b'E' if self.begin.is_some() => &mut self.end,
            _ => return,
        };
        if slot.is_some() {
            return;
        }
        *slot = Some(at);
        let sample = match byte {
            b'B' => &mut self.at_begin,
            b'E' => &mut self.at_end,
            _ => return,
        };
        *sample = self.watched.and_then(|process| Sample::of(process, at));
    }

    /// From now on, looks at what this process spends.
    pub(super) fn watch(&mut self, process: u32) {
        self.watched = Some(process);
        // It may have begun before its number was known here.
        if let (Some(at), None) = (self.begin, self.end) {
            self.at_begin = Sample::of(process, at);
        }
    }

    /// Where the region of interest went, as far as that is known.
    pub(super) fn quadrants(&self, executes: Executes) -> Vec<Counter> {
        let ends = self.at_begin.as_ref().zip(self.at_end.as_ref()).zip(self.roi());
        ends.map_or_else(Vec::new, |((begin, end), roi)| end.quadrants(begin, roi.duration(), executes))
    }

    /// The guest's exit code, once it is complete.
    pub(super) const fn exit_code(&self) -> Option<u8> {
        match self.exit {
            Exit::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The region of interest, if it both began and ended. Two markers that arrived together tell no time.
    pub(super) fn roi(&self) -> Option<Roi> {
        Some(Roi { begin: self.begin?, end: self.end? }).filter(|roi| !roi.duration().is_zero())
    }
}

/// The value of a lower-case hexadecimal digit.
const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Bytes that arrive one millisecond apart.
    fn markers(bytes: &[u8]) -> (Markers, Instant) {
        let start = Instant::now();
        let mut markers = Markers::default();
        for (ms, &byte) in (0..).zip(bytes) {
            markers.take(byte, start + Duration::from_millis(ms));
        }
        (markers, start)
    }

    #[test]
    fn a_whole_run_is_read() {
        let (m, start) = markers(b"UBEX8b");
        assert_eq!(m.ring3, Some(start));
        assert_eq!(m.roi().map(|roi| roi.duration()), Some(Duration::from_millis(1)));
        assert_eq!(m.exit_code(), Some(0x8b));
    }

    #[test]
    fn the_region_is_the_first_b_to_the_first_e_after_it() {
        let (m, _) = markers(b"UEBBBEBE");
        assert_eq!(m.roi().map(|roi| roi.duration()), Some(Duration::from_millis(3)));
        assert_eq!(markers(b"UE").0.roi(), None);
        assert_eq!(markers(b"UB").0.roi(), None);
    }

    #[test]
    fn an_exit_code_needs_two_lower_case_digits_and_nothing_follows_it() {
        assert_eq!(markers(b"X0").0.exit_code(), None);
        assert_eq!(markers(b"XB0").0.exit_code(), None);
        assert_eq!(markers(b"XX0a").0.exit_code(), Some(10));
        let (m, _) = markers(b"X00BEX01U");
        assert_eq!((m.exit_code(), m.roi(), m.ring3), (Some(0), None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let (m, _) = markers(&bytes);
            prop_assert!(m.exit_code().is_none() || bytes.contains(&b'X'));
        }
    }
}
