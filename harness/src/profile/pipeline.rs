//! How long a superscalar processor that executes out of order would take, and what it waits for.
//!
//! A model of one pass: each instruction starts when it has been fetched, its operands are there and the window has room; it
//! retires in order. Time that passes at the head of the window without a retirement is put down to what that instruction
//! waits for (Eyerman, Eeckhout, Karkhanis and Smith, "A Performance Counter Architecture for Computing Accurate CPI
//! Components", ASPLOS 2006). Independent misses overlap in it as they do on a processor, dependent ones do not.

use super::class::Class;
use super::instruction::{Known, REGISTERS};
use super::memory::Wait;

/// Parts of a cycle: as many instructions can begin and retire in one (this and what follows: AMD Zen 3; Fog, "The microarchitecture
/// of Intel, AMD and VIA CPUs", 2022, chapter 23).
const TICKS: u64 = 6;
/// Instructions in flight: half of 256, as a core halves its retire queue between its two threads while both have work (AMD, "Software
/// Optimization Guide for AMD Family 19h Processors", 56665, 2020), and on a shared host the other mostly has.
const WINDOW: usize = 128;
/// Cycles that a load takes at best, into a general register and into a vector register.
const LOAD: u64 = 4;
const LOAD_VECTOR: u64 = 7;
/// Parts of a cycle between the beginnings of two loads, and of two stores.
const LOADING: u64 = 3;
const STORING: u64 = 6;
/// Cycles from a branch that went another way to the next instruction.
const REFILL: u64 = 14;
/// Words of stores that loads may find, by the low bits of their address.
const STORES: usize = 1024;
/// Bytes of a word.
const WORD: u64 = 8;
/// Most words of an access that are followed.
const WORDS: u64 = 8;
/// Cycles until a load finds in the cache what no single store can pass on to it (measured on Zen 3).
const REJECTED: u64 = 12;

/// Cycles, by what the head of the window waited for.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Cycles {
    /// Nothing: as many instructions retired as can.
    pub(super) issue: f64,
    /// A result, its own or one that it needs.
    pub(super) dependence: f64,
    /// The right instructions, after a branch that went another way.
    pub(super) branch: f64,
    /// A load that hits L1, its own.
    pub(super) load: f64,
    /// L2, a core's share of the last-level cache, the rest of it, memory, a page walk.
    pub(super) l2: f64,
    pub(super) l3: f64,
    pub(super) llc: f64,
    pub(super) dram: f64,
    pub(super) walk: f64,
}

/// Memory that is loaded or stored.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Access {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

impl Access {
    /// Its words, and of each the bytes that it accesses as bits.
    fn words(self) -> impl Iterator<Item = (u64, u8)> {
        let end = self.address.saturating_add(self.bytes.clamp(1, WORD * WORDS));
        (self.address / WORD..end.div_ceil(WORD)).map(move |word| {
            let first = word * WORD;
            let (before, behind) = (self.address.saturating_sub(first), WORD - (end - first).min(WORD));
            (word, (u8::MAX << before) & (u8::MAX >> behind))
        })
    }
}

/// The last store to a word.
#[derive(Debug, Clone, Copy)]
struct Stored {
    word: u64,
    /// Which of its bytes.
    bytes: u8,
    /// When it was there.
    done: u64,
    /// The number of the store: a store may be of several words.
    store: u64,
}

/// One execution of an instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Execution<'a> {
    pub(super) known: &'a Known,
    pub(super) loads: &'a [Access],
    pub(super) stores: &'a [Access],
    /// What its loads wait for beyond L1.
    pub(super) wait: Wait,
    /// Cycles that it takes besides.
    pub(super) besides: u64,
    /// It is a branch that was not foreseen.
    pub(super) missed: bool,
}

/// When the last instructions retired that share what there is so much of: the next one begins when the oldest has.
#[derive(Debug)]
struct Ring<const N: usize> {
    retired: [u64; N],
    head: usize,
}

impl<const N: usize> Ring<N> {
    const fn new() -> Self {
        Self { retired: [0; N], head: 0 }
    }

    const fn oldest(&self) -> u64 {
        self.retired[self.head]
    }

    const fn push(&mut self, retired: u64) {
        self.retired[self.head] = retired;
        self.head = (self.head + 1) % N;
    }
}

/// The processor.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// When each register is there; all times are in parts of a cycle.
    ready: [u64; REGISTERS],
    /// What was stored, by the low bits of the word.
    stored: Vec<Stored>,
    /// Stores so far.
    stores: u64,
    /// When the last instructions retired.
    window: Ring<WINDOW>,
    fetched: u64,
    /// The first instruction that is fetched again after a branch, and when.
    redirect: Option<u64>,
    retired: u64,
    /// When the units that load, store and divide are free.
    loader: u64,
    storer: u64,
    divider: u64,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        Self {
            ready: [0; REGISTERS],
            stored: vec![Stored { word: u64::MAX, bytes: 0, done: 0, store: 0 }; STORES],
            stores: 0,
            window: Ring::new(),
            fetched: 0,
            redirect: None,
            retired: 0,
            loader: 0,
            storer: 0,
            divider: 0,
        }
    }

    /// When all of these registers are there.
    fn there(&self, registers: &[u8]) -> u64 {
        registers.iter().filter_map(|&r| self.ready.get(usize::from(r))).fold(0, |latest, &there| latest.max(there))
    }

    /// When what the last stores left there can be loaded: one that holds all of it passes it on, else it must have reached the cache.
    fn passed_on(&self, load: Access) -> u64 {
        let (mut latest, mut store, mut whole) = (0, None, true);
        for (word, bytes) in load.words() {
            let stored = self.stored[word as usize % STORES];
            if stored.word != word || stored.bytes & bytes == 0 {
                whole = false;
                continue;
            }
            latest = latest.max(stored.done);
            whole &= stored.bytes & bytes == bytes && store.is_none_or(|store| store == stored.store);
            store = Some(stored.store);
        }
        match store {
            Some(_) if !whole => latest + REJECTED * TICKS,
            _ => latest,
        }
    }

    /// One instruction retires; the cycles until then are added.
    pub(super) fn retire(&mut self, execution: &Execution<'_>, cycles: &mut Cycles) {
        let Execution { known, loads, stores, wait, besides, missed } = *execution;
        let redirected = self.redirect.take();
        self.fetched = (self.fetched + 1).max(redirected.unwrap_or(0));
        let fetched = self.fetched.max(self.window.oldest());
        let mut start = self.there(&known.reads).max(fetched);
        let vector = matches!(known.class, Class::Float | Class::FloatDivide | Class::Vector);
        let latency = if vector { LOAD_VECTOR } else { LOAD };
        if !loads.is_empty() {
            self.loader = (self.loader + LOADING * loads.len() as u64).max(fetched);
            let mut begin = self.there(&known.addressing).max(self.loader);
            for &load in loads {
                begin = begin.max(self.passed_on(load));
            }
            start = start.max(begin + (latency + wait.total()) * TICKS);
        } else if !stores.is_empty() {
            start = start.max(self.there(&known.addressing));
        }
        // What waits for its operands lets others pass, so units are busy from when an instruction is there.
        if !stores.is_empty() {
            self.storer = (self.storer + STORING * stores.len() as u64).max(fetched);
            start = start.max(self.storer);
        }
        if known.divides > 0 {
            self.divider = (self.divider + known.divides * TICKS).max(fetched);
            start = start.max(self.divider);
        }
        // A plain load is done when it has loaded.
        let own = if known.plain_load { 0 } else { known.latency };
        let done = start + (own + besides) * TICKS;
        for &register in &known.writes {
            if let Some(ready) = self.ready.get_mut(usize::from(register)) {
                *ready = done;
            }
        }
        for &store in stores {
            self.stores += 1;
            for (word, bytes) in store.words() {
                self.stored[word as usize % STORES] = Stored { word, bytes, done, store: self.stores };
            }
        }
        // Repetitions are microcode, and nothing is decoded meanwhile.
        self.fetched += besides * TICKS;
        if missed {
            self.redirect = Some(done + REFILL * TICKS);
        }
        let next = self.retired + 1;
        let retired = next.max(done);
        let stall = (retired - next) as f64 / TICKS as f64;
        cycles.issue += 1.0 / TICKS as f64;
        if stall > 0.0 {
            let waited = wait.total() as f64;
            if redirected.is_some() {
                cycles.branch += stall;
            } else if !loads.is_empty() && waited > 0.0 {
                let part = |of: u64| (stall * of as f64 / waited).min(of as f64);
                let parts = [part(wait.l2), part(wait.l3), part(wait.llc), part(wait.dram), part(wait.walk)];
                let [l2, l3, llc, dram, walk] = parts;
                cycles.l2 += l2;
                cycles.l3 += l3;
                cycles.llc += llc;
                cycles.dram += dram;
                cycles.walk += walk;
                cycles.dependence += stall - parts.iter().sum::<f64>();
            } else if !loads.is_empty() {
                let load = stall.min(latency as f64);
                cycles.load += load;
                cycles.dependence += stall - load;
            } else {
                cycles.dependence += stall;
            }
        }
        self.retired = retired;
        self.window.push(retired);
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::InstructionInfoFactory;

    use super::*;

    /// Cycles for so many of an instruction, each of whose loads waits so long.
    fn run(bytes: &[u8], times: u64, wait: Wait, missed: bool) -> Cycles {
        let known = Known::of(bytes, 64, 0x1000, &mut InstructionInfoFactory::new()).expect("an instruction");
        let (mut pipeline, mut cycles) = (Pipeline::new(), Cycles::default());
        for i in 0..times {
            let loads = [Access { address: 0x10_0000 + 64 * i, bytes: 8 }];
            let loads = if known.operands.is_empty() { &[][..] } else { &loads };
            let execution = Execution { known: &known, loads, stores: &[], wait, besides: 0, missed };
            pipeline.retire(&execution, &mut cycles);
        }
        cycles
    }

    fn total(c: Cycles) -> f64 {
        c.issue + c.dependence + c.load + c.branch + c.l2 + c.l3 + c.llc + c.dram + c.walk
    }

    #[test]
    fn a_chain_takes_its_latency_and_independent_work_its_width() {
        let chain = total(run(&[0x48, 0x0f, 0xaf, 0xc0], 1000, Wait::default(), false)); // imul rax, rax
        assert!((2990.0..3010.0).contains(&chain), "{chain}");
        let free = total(run(&[0xb8, 1, 0, 0, 0], 1200, Wait::default(), false)); // mov eax, 1
        assert!((200.0..205.0).contains(&free), "{free}");
        let loads = total(run(&[0x48, 0x8b, 0x03], 1000, Wait::default(), false)); // mov rax, [rbx]
        assert!((500.0..510.0).contains(&loads), "{loads}");
        let divisions = total(run(&[0xf2, 0x0f, 0x5e, 0xc1], 1000, Wait::default(), false)); // divsd xmm0, xmm1
        assert!((12_990.0..13_010.0).contains(&divisions), "{divisions}");
        let roots = total(run(&[0x66, 0x0f, 0x51, 0x03], 1000, Wait::default(), false)); // sqrtpd xmm0, [rbx]
        assert!((8_990.0..9_040.0).contains(&roots), "{roots}");
    }

    #[test]
    fn a_chain_of_loads_waits_for_loads() {
        let chased = run(&[0x48, 0x8b, 0x00], 1000, Wait::default(), false); // mov rax, [rax]
        assert!((3820.0..=3840.0).contains(&chased.load) && chased.dependence < 10.0, "{chased:?}");
    }

    /// Cycles for a chain through memory, each time: loads of some bytes, then stores, at an offset.
    fn through_memory(load: (u64, u64), stores: &[(u64, u64)]) -> f64 {
        let mut factory = InstructionInfoFactory::new();
        let mut known = |bytes: &[u8]| Known::of(bytes, 64, 0x1000, &mut factory).expect("an instruction");
        let (loading, storing) = (known(&[0xf3, 0x0f, 0x6f, 0x03]), known(&[0xf3, 0x0f, 0x7f, 0x03])); // movdqu [rbx]
        let at = |&(offset, bytes): &(u64, u64)| Access { address: 0x2000 + offset, bytes };
        let (mut pipeline, mut cycles) = (Pipeline::new(), Cycles::default());
        let plain =
            Execution { known: &loading, loads: &[], stores: &[], wait: Wait::default(), besides: 0, missed: false };
        for _ in 0..1000 {
            pipeline.retire(&Execution { loads: &[at(&load)], ..plain }, &mut cycles);
            for store in stores {
                pipeline.retire(&Execution { known: &storing, stores: &[at(store)], ..plain }, &mut cycles);
            }
        }
        total(cycles) / 1000.0
    }

    #[test]
    fn an_access_is_of_words_and_their_bytes() {
        let words = |address, bytes| Access { address, bytes }.words().collect::<Vec<_>>();
        assert_eq!(words(0x10, 8), [(2, 0xff)]);
        assert_eq!(words(0x13, 2), [(2, 0b0001_1000)]);
        assert_eq!(words(0x17, 2), [(2, 0x80), (3, 1)]);
        assert_eq!(words(0x10, 0), [(2, 1)], "a byte at least");
        assert_eq!(words(0, 1000).len(), 8, "a cache line at most");
        assert!(words(u64::MAX, 8).iter().all(|&(word, _)| word == u64::MAX / 8), "up to the end of memory");
    }

    #[test]
    fn a_store_passes_on_what_it_holds_whole() {
        let passed = through_memory((0, 16), &[(0, 16)]);
        assert!((7.9..8.1).contains(&passed), "{passed}");
        assert_eq!(through_memory((8, 8), &[(0, 16)]), passed, "its second half");
        assert_eq!(through_memory((1, 1), &[(0, 2)]), passed, "a byte of two");
        for pieces in [&[(0, 8), (8, 8)][..], &[(8, 8)], &[(0, 4)]] {
            let rejected = through_memory((0, 16), pieces);
            assert!((19.9..21.1).contains(&rejected), "{pieces:?}: {rejected}");
        }
        let beside = through_memory((0, 4), &[(4, 4)]);
        assert!(beside < 2.0, "{beside}");
    }

    #[test]
    fn independent_misses_overlap_and_dependent_ones_do_not() {
        let wait = Wait { dram: 250, ..Wait::default() };
        let chased = run(&[0x48, 0x8b, 0x00], 1000, wait, false); // mov rax, [rax]
        assert!(chased.dram > 240_000.0, "{chased:?}");
        let read = run(&[0x48, 0x8b, 0x03], 1000, wait, false); // mov rax, [rbx]
        assert!(read.dram < 2_500.0 && read.dram > 250.0, "{read:?}");
    }

    #[test]
    fn misses_overlap_as_far_as_the_window_reaches() {
        let wait = Wait { dram: 250, ..Wait::default() };
        let read = total(run(&[0x48, 0x8b, 0x03], 12_800, wait, false)); // mov rax, [rbx]
        assert!((25_400.0..26_000.0).contains(&read), "a hundred times {WINDOW} of them: {read}");
    }

    #[test]
    fn repetitions_do_not_overlap() {
        let known = Known::of(&[0xf3, 0xa4], 64, 0x1000, &mut InstructionInfoFactory::new()).expect("rep movsb");
        let (mut pipeline, mut cycles) = (Pipeline::new(), Cycles::default());
        for _ in 0..100 {
            let execution = Execution {
                known: &known,
                loads: &[],
                stores: &[],
                wait: Wait::default(),
                besides: 500,
                missed: false,
            };
            pipeline.retire(&execution, &mut cycles);
        }
        assert!((49_000.0..51_000.0).contains(&total(cycles)), "{cycles:?}");
    }

    #[test]
    fn a_branch_that_goes_another_way_costs_a_refill() {
        let missed = run(&[0x75, 0xfe], 1000, Wait::default(), true);
        assert!((14_000.0..17_000.0).contains(&missed.branch), "{missed:?}");
        assert_eq!(run(&[0x75, 0xfe], 1000, Wait::default(), false).branch, 0.0);
    }
}
