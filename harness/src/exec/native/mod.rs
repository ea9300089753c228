//! The host's processor as an engine: a child process loads the registers through a signal frame (`rt_sigreturn`),
//! executes, and the signal that ends it delivers all registers, the vector, the error code and CR2.
//!
//! The child can do nothing but compute: a seccomp filter refuses every system call of the code under test, and its
//! memory is its own but for the mailbox, which the parent does not trust.

mod child;
mod convert;
mod entry;
mod process;
mod seccomp;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

pub(crate) use self::convert::{from_xsave, to_xsave};

use self::process::Process;
use self::shared::{AREA, Change, MAX_CHANGES, RegionEntry, SLOTS, Slot, Status};
use super::end::{End, Exception};
use super::error::ExecError;
use super::finish::finish;
use super::memory::collect_changes;
use super::runner::{Engine, FinalState, Runner};
use super::snippet::{MAX_REGIONS, Mode, Snippet};

/// Instructions of a budget that one tick of the timer stands for: the processor is not stopped by count but by time.
const INSTRUCTIONS_PER_TICK: u64 = 1_000_000;
/// Most ticks: about 8 seconds.
const MAX_TICKS: u64 = 2000;

/// Executes snippets on the host's processor.
///
/// The child dies with the thread that made it, so a runner is used by the thread that made it. The instruction budget
/// only bounds the time: code that has not ended by then ends with [`End::Budget`] at an arbitrary instruction.
#[derive(Debug)]
pub struct NativeRunner {
    process: Process,
}

impl NativeRunner {
    /// Starts the child.
    ///
    /// # Errors
    /// The host is not Linux on x86-64 with FSGSBASE and seccomp, or refused memory or a process.
    pub fn new() -> Result<Self, ExecError> {
        Ok(Self { process: Process::start()? })
    }

    /// Writes a case into a slot; its contents begin at `offset` of the contents area. Returns where they end.
    fn fill(&mut self, index: usize, snippet: &Snippet, offset: usize) -> usize {
        let slot = self.process.slot(index);
        let mut regions = [RegionEntry { address: 0, size: 0, protection: 0, live: 0, initial: 0 }; MAX_REGIONS];
        let (mut live, mut initial) = (0, offset);
        for (entry, region) in regions.iter_mut().zip(&snippet.regions) {
            let write = if region.access.write { libc::PROT_WRITE } else { 0 };
            let execute = if region.access.execute { libc::PROT_EXEC } else { 0 };
            let size = region.bytes.len();
            *entry = RegionEntry {
                address: region.address,
                size: size as u64,
                protection: (libc::PROT_READ | write | execute) as u64,
                live: live as u64,
                initial: initial as u64,
            };
            self.process.write_contents(initial, &region.bytes);
            live += size;
            initial += size;
        }
        let mut input = snippet.registers.clone();
        if snippet.mode == Mode::Bits32 {
            input.gprs.iter_mut().for_each(|gpr| *gpr &= 0xffff_ffff);
        }
        // SAFETY: `slot` is valid, and the child does not touch slots between batches.
        unsafe {
            (*slot).input = convert::to_block(&input, snippet.mode);
            (*slot).regions = regions;
            (*slot).region_count = snippet.regions.len() as u32;
            (*slot).ticks = (snippet.budget / INSTRUCTIONS_PER_TICK + 2).min(MAX_TICKS) as u32;
            (*slot).status = Status::Waiting as u32;
        }
        initial
    }

    /// Reads the result of a case.
    fn collect(&mut self, index: usize, snippet: &Snippet) -> Result<FinalState, ExecError> {
        let slot: *const Slot = self.process.slot(index);
        // SAFETY: `slot` is valid, the batch is over, and plain integers have no invalid values.
        let (output, status, signal, trap, error, cr2, change_count) = unsafe {
            let s = &raw const *slot;
            ((*s).output, (*s).status, (*s).signal, (*s).trap, (*s).error, (*s).cr2, (*s).change_count)
        };
        if status == Status::Unmappable as u32 {
            let address = snippet.regions.get(trap as usize).map_or(0, |region| region.address);
            let source = std::io::Error::from_raw_os_error(signal as i32);
            return Err(ExecError::NativeAddress { address, source });
        }
        if status != Status::Done as u32 {
            let what = "the kernel refused the registers".to_owned();
            return Err(ExecError::Unexpected { engine: Engine::Native, what });
        }
        let mut memory = Vec::new();
        let count = usize::try_from(change_count).unwrap_or(usize::MAX);
        if count <= MAX_CHANGES {
            // SAFETY: as above; `count` is within the array.
            let changes = (0..count).map(|i| unsafe { (&raw const (*slot).changes).cast::<Change>().add(i).read() });
            for Change { address, value } in changes {
                let before = snippet.regions.iter().find_map(|region| region.at(address)).and_then(|b| b.get(..8));
                collect_changes(address, before.unwrap_or(&[0; 8]), &value.to_le_bytes(), &mut memory);
            }
        } else {
            self.process.live_changes(snippet, &mut memory);
        }
        let registers = convert::from_block(&output);
        Ok(match signal as i32 {
            libc::SIGPROF => FinalState { end: End::Budget, registers, memory },
            libc::SIGSYS => FinalState { end: End::KernelCall, registers, memory },
            _ => finish(snippet, registers, memory, Exception::new(trap as u8, error as u32, cr2)),
        })
    }

    /// Executes as many of the snippets as fit into the mailbox; at least one.
    fn batch(&mut self, snippets: &[Snippet], results: &mut Vec<Result<FinalState, ExecError>>) {
        let mut offset = 0;
        let mut count = 0;
        for snippet in snippets.iter().take(SLOTS) {
            let size: usize = snippet.regions.iter().map(|region| region.bytes.len()).sum();
            if offset + size > AREA {
                break;
            }
            offset = self.fill(count, snippet, offset);
            count += 1;
        }
        let death = self.process.execute(count).err();
        let done = match &death {
            None => count,
            Some(_) => (self.process.mailbox().current.load(Ordering::Relaxed) as usize).min(count - 1),
        };
        let first = results.len();
        let mut again = Vec::new();
        for (i, snippet) in snippets.iter().enumerate().take(done) {
            // Live memory is that of the last case: another with too many changes is executed once more, by itself.
            if self.change_count(i) > MAX_CHANGES as u64 && i + 1 != count {
                again.push(i);
            }
            results.push(self.collect(i, snippet));
        }
        if let Some(error) = death {
            results.push(Err(error));
        }
        for i in again {
            results[first + i] = self.run(&snippets[i]);
        }
    }

    fn change_count(&mut self, index: usize) -> u64 {
        let slot: *const Slot = self.process.slot(index);
        // SAFETY: `slot` is valid and the child is not executing.
        unsafe { (*slot).change_count }
    }
}

impl Runner for NativeRunner {
    fn engine(&self) -> Engine {
        Engine::Native
    }

    fn run(&mut self, snippet: &Snippet) -> Result<FinalState, ExecError> {
        self.run_many(std::slice::from_ref(snippet))
            .pop()
            .unwrap_or(Err(ExecError::Unexpected { engine: Engine::Native, what: "no result".to_owned() }))
    }

    fn run_many(&mut self, snippets: &[Snippet]) -> Vec<Result<FinalState, ExecError>> {
        let mut results = Vec::with_capacity(snippets.len());
        while let Some(rest) = snippets.get(results.len()..).filter(|rest| !rest.is_empty()) {
            // Valid ones in a row go together; an invalid one gets its error.
            let valid = rest.iter().take(SLOTS).take_while(|snippet| snippet.validate().is_ok()).count();
            match rest.first().map(Snippet::validate) {
                Some(Err(error)) => results.push(Err(error)),
                _ => self.batch(&rest[..valid], &mut results),
            }
        }
        results
    }
}
