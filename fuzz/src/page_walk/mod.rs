//! The page walker and the soft TLB against the manual: a guest changes page tables, control registers and TLB
//! entries, and accesses memory. What a fresh walk of the tables would do must happen; what an entry would do that was
//! made before the tables changed may happen, until the guest invalidates it.

mod machine;
pub(crate) mod ops;
mod tables;

use std::cell::RefCell;

use emu_min::Strategy;

use self::machine::{CODE_OFFSET, FETCHED, Machine, Seen, Step};
use self::ops::{Kind, Op};
use self::tables::{DATA, DATA_PAGES, Rules, Translation, entry, error_code, linear, marked, walk};

/// Most steps of an input.
const MAX_STEPS: usize = 200;
/// Bytes of the data pages.
const DATA_LEN: u64 = DATA_PAGES * 0x1000;
const PF: u8 = 14;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const PGE: u64 = 1 << 7;
const WP: u64 = 1 << 16;

/// Does the steps that `data` stands for, with both strategies.
pub fn page_walk(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let nxe = bytes.next().unwrap_or(0) & 1 == 0;
    let mut steps = Vec::new();
    while bytes.len() > 0 && steps.len() < MAX_STEPS {
        steps.push(Op::read(&mut bytes));
    }
    check(nxe, &steps);
}

thread_local! {
    /// One machine for each strategy: a CPU is large, so it is made once and reset for each input.
    static MACHINES: [RefCell<Machine>; 2] =
        [Strategy::Naive, Strategy::Interp].map(|strategy| RefCell::new(Machine::new(strategy)));
}

/// Does `steps` with both strategies.
pub(crate) fn check(nxe: bool, steps: &[Op]) {
    MACHINES.with(|machines| {
        for (machine, keeps) in machines.iter().zip([false, true]) {
            let mut machine = machine.borrow_mut();
            machine.reset(nxe);
            let mut model = Model::new(&mut machine, keeps, nxe);
            for (i, &op) in steps.iter().enumerate() {
                model.step(op, i as u64);
            }
        }
    });
}

/// The guest, and what its processor may have kept.
struct Model<'a> {
    machine: &'a mut Machine,
    /// Whether translations may be kept at all.
    keeps: bool,
    nxe: bool,
    /// For each of the 16 pages, translations that were used since they were last invalidated.
    kept: [Vec<Translation>; 16],
    /// What the data pages hold.
    data: Vec<u8>,
}

impl<'a> Model<'a> {
    fn new(machine: &'a mut Machine, keeps: bool, nxe: bool) -> Self {
        let mut model = Self { machine, keeps, nxe, kept: Default::default(), data: Vec::new() };
        model.data = model.read_data();
        model
    }

    fn read_data(&self) -> Vec<u8> {
        let mut bytes = vec![0; DATA_LEN as usize];
        assert!(self.machine.ram().read(DATA, &mut bytes));
        bytes
    }

    fn rules(&self) -> Rules {
        let state = self.machine.cpu.state();
        Rules {
            cr3: state.cr3,
            wp: state.cr0 & WP != 0,
            smep: state.cr4 & SMEP != 0,
            smap: state.cr4 & SMAP != 0,
            nxe: self.nxe,
        }
    }

    fn step(&mut self, op: Op, number: u64) {
        let state = self.machine.cpu.state();
        match op {
            Op::Access { kind, user, ac, page, offset } => self.access(kind, user, ac, page, offset, number),
            Op::Poke { table, index, flags, target } => {
                let (level, at) = table.place();
                assert!(self.machine.ram().write_u64(at + u64::from(index & 1) * 8, entry(level, flags, target)));
            }
            Op::Invalidate { page } => {
                self.machine.step(Step::Invalidate, linear(page), 0, false);
                // Intel SDM volume 3, 4.10.4.1: all entries for the page, however large it is.
                let gone = std::mem::take(&mut self.kept[usize::from(page)]);
                for (other, kept) in (0..).zip(&mut self.kept) {
                    let near = |t: &Translation| (linear(other) ^ linear(page)) >> t.shift == 0;
                    kept.retain(|t| !gone.iter().any(|g| g.shift == t.shift && near(t)));
                }
            }
            Op::Space(number) => {
                self.machine.step(Step::Space, 0, tables::space(number), false);
                let pge = state.cr4 & PGE != 0;
                self.kept.iter_mut().for_each(|kept| kept.retain(|t| t.global && pge));
            }
            Op::WriteProtect(on) => {
                let cr0 = if on { state.cr0 | WP } else { state.cr0 & !WP };
                self.machine.step(Step::Cr0, 0, cr0, false);
                assert_eq!(self.machine.cpu.state().cr0, cr0);
            }
            Op::Control { smep, smap, pge } => {
                let bit = |on: bool, bit: u64| if on { bit } else { 0 };
                let cr4 = state.cr4 & !(SMEP | SMAP | PGE) | bit(smep, SMEP) | bit(smap, SMAP) | bit(pge, PGE);
                self.machine.step(Step::Cr4, 0, cr4, false);
                // A processor that lacks one of them raises #GP, and nothing changes.
                if (self.machine.cpu.state().cr4 ^ state.cr4) & PGE != 0 {
                    self.kept.iter_mut().for_each(Vec::clear);
                }
            }
        }
    }

    fn access(&mut self, kind: Kind, user: bool, ac: bool, page: u8, offset: u16, number: u64) {
        let rules = self.rules();
        let offset = if kind == Kind::Fetch { CODE_OFFSET } else { u64::from(offset) % CODE_OFFSET };
        let address = linear(page) + offset;
        let ram = self.machine.ram().clone();
        let before: Vec<u64> = tables::entries().filter_map(|at| ram.read_u64(at)).collect();
        let fresh = walk(&ram, &rules, address);
        let token = 0xfeed_0000_0000_0000 | number;
        let expected = match &fresh {
            Ok((t, _)) if t.allows(&rules, kind, user, ac) => Ok(t.frame),
            Ok(_) => Err(error_code(1, &rules, kind, user)),
            Err(reason) => Err(error_code(*reason, &rules, kind, user)),
        };
        let marks = match (&fresh, &expected) {
            (Ok((_, slots)), Ok(_)) => marked(&ram, slots, kind),
            _ => Vec::new(),
        };
        let seen = self.machine.step(Step::Access(kind, user), address, token, ac);

        let usable = |t: &&Translation| t.allows(&rules, kind, user, ac) && (kind != Kind::Write || t.dirty);
        let stale: Vec<u64> = self.kept[usize::from(page)].iter().filter(usable).map(|t| t.frame).collect();
        let what = || {
            format!(
                "step {number}: {kind:?} user {user} ac {ac} at {address:#x}: {seen:x?}, walk {fresh:x?}, kept {stale:x?}"
            )
        };
        let candidates: Vec<u64> = expected.iter().chain(&stale).copied().collect();
        let met = self.outcome(kind, offset, address, token, &seen, &candidates);
        let as_fresh = met == expected;
        assert!(as_fresh || met.is_ok_and(|frame| stale.contains(&frame)), "{}: {met:x?}", what());
        // A write is known by what it changed, and nothing else may have changed.
        if let (Kind::Write, Ok(frame)) = (kind, met)
            && let Some(at) = frame.checked_sub(DATA)
            && let Some(place) = self.data.get_mut((at + offset) as usize..(at + offset) as usize + 8)
        {
            place.copy_from_slice(&token.to_le_bytes());
        }
        assert!(self.read_data() == self.data, "{}: other memory changed", what());

        let after: Vec<u64> = tables::entries().filter_map(|at| ram.read_u64(at)).collect();
        let marked_as_walked = marks.iter().all(|&(at, value)| ram.read_u64(at) == Some(value));
        let others = tables::entries()
            .zip(before.iter().zip(&after))
            .all(|(at, (old, new))| old == new || marks.iter().any(|&(slot, value)| slot == at && value == *new));
        assert!(others, "{}: tables {before:x?} became {after:x?}", what());
        // Fetches from devices look alike, wherever those are.
        let no_code = |frame: u64| kind == Kind::Fetch && frame >= DATA + DATA_LEN;
        let alike = |&frame: &u64| met == Ok(frame) || no_code(frame) && met.is_ok_and(no_code);
        if as_fresh && !stale.iter().any(alike) {
            assert!(marked_as_walked, "{}: A and D of {marks:x?} in {after:x?}", what());
        }
        if self.keeps
            && as_fresh
            && let (Ok((t, _)), Ok(_)) = (&fresh, met)
        {
            let t = Translation { dirty: t.dirty || kind == Kind::Write, ..*t };
            let kept = &mut self.kept[usize::from(page)];
            if !kept.contains(&t) {
                kept.push(t);
            }
        }
    }

    /// The page that an access reached, or the error code of its page fault. `candidates`: pages that it may reach.
    fn outcome(
        &self,
        kind: Kind,
        offset: u64,
        address: u64,
        token: u64,
        seen: &Seen,
        candidates: &[u64],
    ) -> Result<u64, u32> {
        if seen.vector == PF {
            assert_eq!(seen.cr2, address, "{seen:x?}");
            return Err(seen.error);
        }
        if let Some((gpa, written)) = seen.device {
            assert!(kind != Kind::Write || written == Some(token), "{seen:x?}");
            assert!(kind != Kind::Read || seen.rax == !gpa, "{seen:x?}");
            return Ok(gpa & !0xfff);
        }
        let mut frames = (0..DATA_PAGES).map(|page| DATA + page * 0x1000);
        let word = |frame: u64| self.machine.ram().read_u64(frame + offset);
        let found = match kind {
            Kind::Fetch => frames.find(|frame| u64::from(seen.vector) == u64::from(FETCHED) + ((frame - DATA) >> 12)),
            Kind::Read => frames.find(|&frame| word(frame) == Some(seen.rax)),
            Kind::Write => frames.find(|&frame| word(frame) == Some(token)),
        };
        // Devices hold no code; whatever comes of executing them, the guest is back.
        let device = || candidates.iter().copied().find(|&frame| kind == Kind::Fetch && frame >= DATA + DATA_LEN);
        Ok(found.or_else(device).unwrap_or_else(|| panic!("{kind:?} at {address:#x} reached no memory: {seen:x?}")))
    }
}
