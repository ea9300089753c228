//! The witness of `evlab walk`: looks at the address at each exit of the machine.

use std::ops::ControlFlow;

use emu_min::{TlbAccess, TlbEntry, TlbRights};
use vmm_min::{CpuError, End, Registers, Scene, SeenExit, Walk, Why, Witness, walk};

use super::picture::{Hex, LookView, PageView, Picture, TlbEntryView, TlbKind, TlbView, ValueView, rule};
use super::{EntryView, Moment};
use crate::engines::{self, EngineError, Job, StopFlag};

/// Bits of CR3 that name the page tables.
const TABLES: u64 = 0x000f_ffff_ffff_f000;
/// Bytes of a value.
const VALUE: usize = 8;

/// Looks at an address whenever the machine exits.
#[derive(Debug)]
pub struct Watch {
    address: u64,
    at: Moment,
    /// How many processes there will be, if that is known: with all of them seen there is nothing to wait for.
    processes: usize,
    ring3: bool,
    exits: u64,
    looks: Vec<Look>,
    /// Why the guest could not be looked at.
    failed: Option<CpuError>,
    done: bool,
}

/// A look at one process.
#[derive(Debug)]
struct Look {
    exit: u64,
    why: String,
    registers: Registers,
    walk: Walk,
    in_ram: bool,
    value: Vec<u8>,
    tlb: TlbKind,
    entries: Vec<TlbEntry>,
}

impl Look {
    fn is_mapped(&self) -> bool {
        self.walk.end.is_ok()
    }
}

impl Watch {
    /// A watch for `address` in `processes` processes.
    #[must_use]
    pub const fn new(address: u64, at: Moment, processes: usize) -> Self {
        Self { address, at, processes, ring3: false, exits: 0, looks: Vec::new(), failed: None, done: false }
    }

    fn look(&mut self, why: String, scene: &mut Scene<'_>) -> Result<(), CpuError> {
        let registers = scene.registers()?;
        let same = |look: &&mut Look| (look.registers.cr3 ^ registers.cr3) & TABLES == 0;
        let known = self.looks.iter_mut().find(same);
        let walk = walk(scene.ram(), &registers, self.address);
        let wanted = match &known {
            None => true,
            Some(old) if self.at == Moment::First => !old.is_mapped(),
            // An address that was mapped once and is no more is shown as it was.
            Some(old) => walk.end.is_ok() || !old.is_mapped(),
        };
        if !wanted {
            return Ok(());
        }
        let mut value = vec![0; VALUE];
        let mut read = 0;
        if let Ok(page) = &walk.end {
            let in_page = page.size - page.gpa % page.size;
            value.truncate(usize::try_from(in_page).unwrap_or(VALUE));
            read = scene.ram().read(page.gpa, &mut value);
        }
        value.truncate(read);
        let (tlb, entries) = match scene.emulated().map(|cpu| cpu.tlb_entries(self.address)) {
            None => (TlbKind::Hardware, Vec::new()),
            Some(None) => (TlbKind::None, Vec::new()),
            Some(Some(entries)) => (TlbKind::Soft, entries),
        };
        let look = Look { exit: self.exits, why, registers, walk, in_ram: read > 0, value, tlb, entries };
        match known {
            Some(old) => *old = look,
            None => self.looks.push(look),
        }
        Ok(())
    }

    /// Looks, unless it must not yet; whether the guest may go on.
    fn attend(&mut self, why: String, scene: &mut Scene<'_>) -> ControlFlow<()> {
        if let Err(error) = self.look(why, scene) {
            self.failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn is_complete(&self) -> bool {
        self.at == Moment::First && self.looks.len() >= self.processes && self.looks.iter().all(Look::is_mapped)
    }
}

impl Witness for Watch {
    fn exit(&mut self, exit: &SeenExit, scene: &mut Scene<'_>) -> ControlFlow<()> {
        self.exits += 1;
        let marker = match &exit.why {
            Why::Port { out: true, data, .. } if exit.why.device() == Some("marker") => data.first().copied(),
            _ => None,
        };
        if !self.ring3 {
            // What runs before is the kernel alone, on tables of its own.
            self.ring3 = marker == Some(b'U');
            return ControlFlow::Continue(());
        }
        self.attend(in_words(&exit.why), scene)?;
        let reached = matches!((self.at, marker), (Moment::Begin, Some(b'B')) | (Moment::End, Some(b'E')));
        if reached || self.is_complete() {
            self.done = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn ended(&mut self, end: &End, scene: &mut Scene<'_>) {
        // A guest that ended by itself did so at an exit, which was looked at.
        if self.ring3 && !self.done && self.failed.is_none() && !matches!(end, End::Exited(_)) {
            self.exits += 1;
            let _ = self.attend("the end of the run".to_owned(), scene);
        }
    }
}

/// An exit in a few words.
fn in_words(why: &Why) -> String {
    match why {
        Why::Port { port, out, .. } => {
            let way = if *out { "out" } else { "in" };
            format!("{way} {port:#x} ({})", why.device().unwrap_or("nobody"))
        }
        Why::Memory { gpa, .. } => format!("memory at {gpa:#x}"),
        Why::Halt => "hlt".to_owned(),
        Why::Shutdown => "triple fault".to_owned(),
        Why::IrqWindow => "interrupt window".to_owned(),
        Why::Interrupted => "interruption by the host".to_owned(),
        Why::BudgetExhausted => "end of the budget".to_owned(),
    }
}

/// Runs a job and looks at an address in each of its processes.
///
/// # Errors
/// The engine cannot run it, or its guest cannot be looked at.
pub fn watch(job: &Job<'_>, stop: &StopFlag, address: u64, at: Moment) -> Result<Picture, EngineError> {
    let mut witness = Watch::new(address, at, job.program.processes as usize);
    let watched = engines::watch(job, stop, &mut witness)?;
    if let Some(source) = witness.failed {
        let source = Box::new(vmm_min::RunError::Cpu(source));
        return Err(EngineError::Run { engine: job.request.engine.id, source });
    }
    let ended_well = witness.done || watched.end == End::Exited(0);
    let end =
        if witness.done { "the run was ended at the moment asked for".to_owned() } else { watched.end.to_string() };
    let processes = witness.looks.iter().zip(1..).map(|(look, process)| view(look, process)).collect();
    Ok(Picture { engine: job.request.engine, end, ended_well, console: watched.console, processes })
}

fn view(look: &Look, process: usize) -> LookView {
    let page = look.walk.end.ok().map(|page| PageView {
        physical: Hex(page.gpa),
        frame: Hex(page.frame()),
        size: page.size,
        write: page.writable,
        user: page.user,
        execute: page.executable,
        global: page.global,
        in_ram: look.in_ram,
    });
    let bytes: Vec<String> = look.value.iter().map(|byte| format!("{byte:02x}")).collect();
    let value = look.value.first().map(|&byte| ValueView { byte, bytes: bytes.join(" ") });
    let (may_hold, rule) = rule(&look.walk);
    LookView {
        process,
        exit: look.exit,
        why: look.why.clone(),
        ring: look.registers.cpl,
        cr3: Hex(look.registers.cr3),
        entries: look.walk.steps.iter().map(EntryView::from).collect(),
        page,
        unmapped: look.walk.end.as_ref().err().map(ToString::to_string),
        value,
        tlb: TlbView {
            kind: look.tlb,
            hit: (look.tlb == TlbKind::Soft).then_some(!look.entries.is_empty()),
            entries: look.entries.iter().map(entry_view).collect(),
            may_hold,
            rule,
        },
    }
}

fn entry_view(entry: &TlbEntry) -> TlbEntryView {
    let access = match entry.access {
        TlbAccess::Read => "read",
        TlbAccess::Write => "write",
        TlbAccess::Fetch => "fetch",
    };
    let rights = match entry.rights {
        TlbRights::Supervisor => "supervisor",
        TlbRights::User => "user",
        TlbRights::SupervisorSmap => "supervisor-smap",
    };
    TlbEntryView {
        access: access.to_owned(),
        rights: rights.to_owned(),
        level: entry.level,
        global: entry.global,
        physical: Hex(entry.gpa),
    }
}
