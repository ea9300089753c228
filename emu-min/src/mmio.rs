//! Accesses outside RAM leave the CPU in the middle of an instruction, which is then executed again: the log holds the
//! accesses of the current instruction that the machine has served, to be replayed in order instead of repeated.

/// A served access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Served {
    gpa: u64,
    size: u8,
    /// The value read; `None` for a write.
    read: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MmioLog {
    served: Vec<Served>,
    replayed: usize,
}

impl MmioLog {
    /// Whether an instruction is under way that has left the CPU before.
    pub(crate) fn in_progress(&self) -> bool {
        !self.served.is_empty()
    }

    /// The instruction (or element of a string) is complete.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        if !self.served.is_empty() {
            self.served.clear();
        }
        self.replayed = 0;
    }

    /// The instruction starts again from its beginning.
    pub(crate) fn rewind(&mut self) {
        self.replayed = 0;
    }

    pub(crate) fn push_read(&mut self, gpa: u64, size: u8, value: u64) {
        self.served.push(Served { gpa, size, read: Some(value) });
    }

    pub(crate) fn push_write(&mut self, gpa: u64, size: u8) {
        self.served.push(Served { gpa, size, read: None });
    }

    /// The next access of the log, if it is this read.
    pub(crate) fn replay_read(&mut self, gpa: u64, size: u8) -> Option<u64> {
        let next = self.served.get(self.replayed)?;
        let value = next.read.filter(|_| next.gpa == gpa && next.size == size)?;
        self.replayed += 1;
        Some(value)
    }

    /// Whether the next access of the log is this write.
    pub(crate) fn replay_write(&mut self, gpa: u64, size: u8) -> bool {
        let served = self.served.get(self.replayed) == Some(&Served { gpa, size, read: None });
        self.replayed += usize::from(served);
        served
    }
}
