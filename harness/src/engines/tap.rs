//! Streams that a thread of their own reads, so that bytes are timestamped when they arrive and no writer ever waits.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::console::Console;
use super::markers::Markers;

/// What a stream's bytes are gathered in.
pub(super) trait Sink: Default + Send + 'static {
    /// Takes in bytes that arrived at `at`.
    fn take(&mut self, bytes: &[u8], at: Instant);
}

impl Sink for Markers {
    fn take(&mut self, bytes: &[u8], at: Instant) {
        for &byte in bytes {
            Self::take(self, byte, at);
        }
    }
}

impl Sink for Console {
    fn take(&mut self, bytes: &[u8], _: Instant) {
        self.write(bytes);
    }
}

/// A stream that is being read.
#[derive(Debug)]
pub(super) struct Tap<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug, Default)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State<T> {
    sink: T,
    ended: bool,
}

/// What waiting for a stream gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// What was waited for.
    Awaited,
    /// The stream ended without it.
    End,
    /// Neither, in the time given.
    Nothing,
}

impl<T: Sink> Tap<T> {
    /// Starts to read `source`.
    pub(super) fn open(name: &str, mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::<T>::default());
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = source.read(&mut buffer);
                let at = Instant::now();
                match read {
                    Ok(0) => break,
                    Ok(n) => writer.lock().sink.take(&buffer[..n], at),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                }
                writer.changed.notify_all();
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        })?;
        Ok(Self { shared })
    }

    /// Waits until `awaited` holds or the stream ends, at most `patience`.
    pub(super) fn wait(&self, patience: Duration, awaited: impl Fn(&T) -> bool) -> Seen {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.ended && !awaited(&state.sink))
            .unwrap_or_else(PoisonError::into_inner);
        if awaited(&state.sink) {
            Seen::Awaited
        } else if state.ended {
            Seen::End
        } else {
            Seen::Nothing
        }
    }

    /// Looks at what has been gathered so far.
    pub(super) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.shared.lock().sink)
    }

    /// Changes what bytes are gathered in.
    pub(super) fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.shared.lock().sink);
    }

    /// What has been gathered. Call it when the writer is gone; a writer that escaped is waited for one second.
    pub(super) fn finish(self) -> T {
        self.wait(Duration::from_secs(1), |_| false);
        std::mem::take(&mut self.shared.lock().sink)
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_awaited_is_seen_and_the_end_too() {
        let (reader, mut writer) = io::pipe().expect("the host has descriptors left");
        let tap = Tap::<Markers>::open("test", reader).expect("the host has threads left");
        assert_eq!(tap.wait(Duration::ZERO, |m| m.ring3.is_some()), Seen::Nothing);
        writer.write_all(b"UX0").expect("the pipe is open");
        assert_eq!(tap.wait(Duration::from_secs(10), |m| m.ring3.is_some()), Seen::Awaited);
        drop(writer);
        assert_eq!(tap.wait(Duration::from_secs(10), |m| m.exit_code().is_some()), Seen::End);
        assert!(tap.finish().ring3.is_some());
    }
}
