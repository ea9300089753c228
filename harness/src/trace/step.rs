//! One step of an emulated CPU: what is known before it, and what came of it.

use emu_min::{Cpu, Delivery, EventSource, State, TlbAccess, TlbRights};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind};
use vmm_min::{CpuError, Registers, Scene, Why, walk};

use super::access::{Access, accesses};
use super::effects::changes;
use super::exits::exit_line;
use super::{Delivered, EventKind, InsnLine, Line, Options, WalkLine};
use crate::exec::exception_name;
use crate::walk::{EntryView, Hex};

/// Longest instruction.
const MAX_LEN: usize = 15;
const PAGE: u64 = 4096;
/// RFLAGS.AC and CR4.SMAP.
const AC: u64 = 1 << 18;
const SMAP: u64 = 1 << 21;

/// What is known before a step.
#[derive(Debug)]
pub(super) struct Before {
    n: u64,
    ring: u8,
    state: State,
    bytes: Vec<u8>,
    /// What is at the instruction pointer; `None` if that cannot be fetched.
    instruction: Option<Instruction>,
    accesses: Vec<Access>,
    walks: Vec<WalkLine>,
    page_walks: u64,
}

impl Before {
    /// Looks at the CPU before a step; `None` if it is not emu-min's.
    ///
    /// # Errors
    /// Whatever keeps the machine from telling its registers.
    pub(super) fn take(scene: &mut Scene<'_>, options: &Options) -> Result<Option<Self>, CpuError> {
        let walks = options.shows(EventKind::Walk);
        let registers = if walks { Some(scene.registers()?) } else { None };
        let Some(cpu) = scene.emulated() else { return Ok(None) };
        let state = cpu.state();
        let mut bytes = vec![0; MAX_LEN];
        let read = cpu.read_virtual(cpu.linear_rip(), &mut bytes);
        bytes.truncate(read);
        let instruction = (!bytes.is_empty())
            .then(|| Decoder::with_ip(cpu.code_bits(), &bytes, cpu.rip(), DecoderOptions::NONE).decode());
        if let Some(instruction) = &instruction {
            bytes.truncate(instruction.len().max(1));
        }
        let wanted = walks || options.shows(EventKind::Mem);
        let accesses =
            instruction.as_ref().filter(|_| wanted).map_or_else(Vec::new, |found| accesses(found, cpu, &state));
        let mut before = Self {
            n: cpu.instructions(),
            ring: cpu.ring(),
            page_walks: cpu.page_walks(),
            state,
            bytes,
            instruction,
            accesses,
            walks: Vec::new(),
        };
        if let Some(registers) = registers.filter(Registers::paging) {
            before.walks = before.coming_walks(scene, cpu, &registers);
        }
        Ok(Some(before))
    }

    /// The walks that the step will take, as far as they can be foreseen.
    fn coming_walks(&self, scene: &Scene<'_>, cpu: &Cpu, registers: &Registers) -> Vec<WalkLine> {
        let mut wanted = vec![("fetch", TlbAccess::Fetch, cpu.linear_rip())];
        let end = cpu.linear_rip().wrapping_add(self.bytes.len().saturating_sub(1) as u64);
        if end / PAGE != cpu.linear_rip() / PAGE {
            wanted.push(("fetch", TlbAccess::Fetch, end & !(PAGE - 1)));
        }
        for access in &self.accesses {
            let (purpose, kind) = if access.writes { ("write", TlbAccess::Write) } else { ("read", TlbAccess::Read) };
            wanted.push((purpose, kind, access.address));
        }
        let mut walks: Vec<WalkLine> = Vec::new();
        for (purpose, kind, address) in wanted {
            let known = walks.iter().any(|walk| walk.purpose == purpose && walk.address.0 / PAGE == address / PAGE);
            if cpu.tlb_entries(address).is_some_and(|held| known || self.hits(&held, kind)) {
                continue;
            }
            let walk = walk(scene.ram(), registers, address);
            walks.push(WalkLine {
                n: self.n,
                purpose,
                address: Hex(address),
                entries: walk.steps.iter().map(EntryView::from).collect(),
                physical: walk.end.ok().map(|page| Hex(page.gpa)),
                unmapped: walk.end.err().map(|error| error.to_string()),
            });
        }
        walks
    }

    /// Whether one of these translations serves an access of this step.
    fn hits(&self, held: &[emu_min::TlbEntry], kind: TlbAccess) -> bool {
        let rights = match self.ring {
            3 => TlbRights::User,
            _ if kind != TlbAccess::Fetch && self.state.cr4 & SMAP != 0 && self.state.rflags & AC == 0 => {
                TlbRights::SupervisorSmap
            }
            _ => TlbRights::Supervisor,
        };
        held.iter().any(|entry| entry.access == kind && entry.rights == rights)
    }

    /// What came of the step.
    pub(super) fn finish(mut self, cpu: &Cpu, why: &Why) -> Vec<Line> {
        let n = self.n;
        let after = cpu.state();
        let delivery = cpu.delivery();
        let advanced = cpu.instructions() > n;
        let faulted = delivery.is_some_and(|delivery| delivery.source == EventSource::Fault);
        let mut lines = Vec::new();
        // An interrupt comes between two instructions; a memory access of the machine is made before its instruction is done.
        let between = delivery.is_some() && !advanced && !faulted;
        let waiting = matches!(why, Why::Memory { .. }) && !advanced;
        if !between && !waiting {
            lines.push(Line::Insn(self.insn(advanced, faulted, &after)));
            if !faulted {
                let elements = self.elements(&after);
                let accesses = std::mem::take(&mut self.accesses);
                lines.extend(accesses.into_iter().filter_map(|access| access.line(n, cpu, elements)).map(Line::Mem));
            }
        }
        let walks = cpu.page_walks().saturating_sub(self.page_walks);
        self.walks.truncate(usize::try_from(walks).unwrap_or(usize::MAX));
        let more = walks - self.walks.len() as u64;
        lines.extend(self.walks.drain(..).map(Line::Walk));
        if more > 0 {
            lines.push(Line::Walks { n, more });
        }
        if let Some(delivery) = delivery {
            let delivered = self.delivered(&delivery, cpu, &after, *why == Why::Shutdown);
            lines.push(match delivery.source {
                EventSource::External => Line::Interrupt(delivered),
                _ => Line::Exception(delivered),
            });
        }
        if *why != Why::Interrupted {
            lines.push(Line::Exit(exit_line(n, why)));
        }
        lines
    }

    fn insn(&self, advanced: bool, faulted: bool, after: &State) -> InsnLine {
        let text = match &self.instruction {
            None => "(cannot be fetched)".to_owned(),
            Some(instruction) if instruction.is_invalid() => "(invalid)".to_owned(),
            Some(instruction) => {
                let mut text = String::new();
                formatter().format(instruction, &mut text);
                text
            }
        };
        let bytes: Vec<String> = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // What a fault changes is its handler's business, not the instruction's.
        let registers = if faulted { Vec::new() } else { changes(&self.state, after) };
        InsnLine {
            n: self.n,
            ring: self.ring,
            rip: Hex(self.state.rip),
            bytes: bytes.join(" "),
            text,
            complete: advanced,
            registers,
        }
    }

    /// By how many elements a repetition went on: by the part of RCX that counts.
    fn elements(&self, after: &State) -> u64 {
        let Some(instruction) = &self.instruction else { return 0 };
        let mask = match instruction.op_kinds().find(|kind| *kind != OpKind::Register) {
            Some(OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI) => 0xffff_ffff,
            Some(OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI) => 0xffff,
            _ => u64::MAX,
        };
        self.state.gprs[1].wrapping_sub(after.gprs[1]) & mask
    }

    fn delivered(&self, delivery: &Delivery, cpu: &Cpu, after: &State, shut_down: bool) -> Delivered {
        let events = delivery.events();
        let first = events.first().copied().unwrap_or_default();
        let name = |vector: u8| match delivery.source {
            EventSource::External if vector != 2 => "interrupt",
            _ => exception_name(vector),
        };
        let then = events.iter().skip(1).map(|event| match event.error {
            Some(error) => format!("{} error {error:#x}", exception_name(event.vector)),
            None => exception_name(event.vector).to_owned(),
        });
        Delivered {
            n: self.n,
            vector: first.vector,
            name: name(first.vector),
            source: match delivery.source {
                EventSource::Fault => "fault",
                EventSource::Trap => "trap",
                EventSource::Software => "software",
                EventSource::External => "external",
            },
            error: first.error.map(|error| Hex(error.into())),
            address: (first.vector == 14 && delivery.source == EventSource::Fault).then_some(Hex(after.cr2)),
            rip: Hex(delivery.rip),
            ring: self.ring,
            then: then.collect(),
            handler: (!shut_down).then(|| Hex(cpu.rip())),
            handler_ring: (!shut_down).then(|| cpu.ring()),
        }
    }
}

fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_branch_leading_zeros(false);
    formatter
}
