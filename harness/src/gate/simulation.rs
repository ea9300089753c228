//! Whole gates on runs that are made up: noise as it was seen on a small virtual machine, and now and then a regression.

use std::sync::Mutex;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::baseline::Baseline;
use super::bench::{Bench, Build, BuildName};
use super::conduct::{Against, Setting, Times, baseline_of, conduct};
use super::judge::Standing;
use super::plan::Plan;
use super::plan::tests::plan;
use super::report::{Report, Verdict};
use super::rules::Rules;
use crate::engines::StopFlag;
use crate::model::{Counter, EngineId, RunRecord, Status};
use crate::results::Tool;
use crate::studio::{Executor, RunSpec, Silent};

/// Something that became worse.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// emu-interp takes so many times as long.
    Slower(f64),
    /// One more exit in one cell.
    Exit,
    /// emu-dbt computes something else.
    Result,
    /// kvm fails.
    Failure,
}

/// A host at some hour: it is faster or slower than at another, its memory too, and not on all engines by exactly the same.
struct Host {
    rng: ChaCha8Rng,
    speed: f64,
    memory: f64,
    drift: [f64; 7],
    planted: Planted,
    /// How long it has been at work.
    elapsed: Duration,
}

/// What a run takes besides its region of interest: a process, the guest's kernel, the answer.
const AROUND: Duration = Duration::from_millis(20);

impl Host {
    fn new(seed: u64, planted: Planted) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut host = Self { rng, speed: 1.0, memory: 1.0, drift: [1.0; 7], planted, elapsed: Duration::ZERO };
        host.speed = host.noise(0.1);
        host.memory = host.noise(0.2);
        host.drift = [(); 7].map(|()| host.noise(0.004));
        host
    }

    /// A factor around 1 whose logarithm is about normal: the sum of twelve uniform numbers.
    fn noise(&mut self, deviation: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.rng.random_range(0.0..1.0)).sum();
        ((sum - 6.0) * deviation).exp()
    }

    fn run(&mut self, spec: &RunSpec) -> RunRecord {
        let engine = spec.cell.engine.id;
        let place = EngineId::ALL.iter().position(|&id| id == engine).unwrap_or(0);
        let mut ns = 1e6 * (1.0 + 3.0 * place as f64) * self.speed * self.drift[place];
        if BY_MEMORY.contains(&spec.cell.workload.as_str()) {
            // An emulator computes so much for each access that memory hardly matters.
            let is_direct = matches!(engine, EngineId::Native | EngineId::Kvm);
            ns *= if is_direct { self.memory } else { self.memory.powf(0.1) };
        }
        ns *= self.noise(if engine == EngineId::Native { 0.07 } else { 0.04 });
        if self.rng.random_bool(0.03) {
            // The host did something else.
            ns *= self.rng.random_range(1.2..2.5);
        }
        let mut record = spec.record(Status::Ok, None);
        (record.checksum, record.exit_code) = (Some("0123456789abcdef".to_owned()), Some(0));
        record.counters = vec![Counter { source: "vmm".into(), counter: "exit.io".into(), value: 5 }];
        let here = spec.cell.workload == "sieve";
        match self.planted {
            Planted::Slower(factor) if engine == EngineId::EmuInterp => ns *= factor,
            Planted::Exit if engine == EngineId::EmuDbt && here => record.counters[0].value += 1,
            Planted::Result if engine == EngineId::EmuDbt && here => record.checksum = Some("feed".repeat(4)),
            Planted::Failure if engine == EngineId::Kvm && here => {
                record.status = Status::Failed;
                record.message = Some("KVM cannot run the guest any further".to_owned());
            }
            _ => {}
        }
        record.roi_guest_ns = Some(ns as u64);
        self.elapsed += AROUND + Duration::from_nanos(ns as u64);
        record
    }
}

/// Programs that the processor runs at the speed of memory, which neighbours of the host share.
const BY_MEMORY: [&str; 3] = ["stream", "random_access", "chase"];

/// The programs of the catalogue, and two workloads that are none.
fn gate_plan() -> Plan {
    let mut plan = plan(
        &[EngineId::Native, EngineId::Kvm, EngineId::EmuDbt, EngineId::EmuInterp],
        &[
            "dense_mm",
            "random_access",
            "sieve",
            "fib",
            "qsort",
            "matmul_i64",
            "sha256",
            "crc32",
            "nbody",
            "strings",
            "bytecode",
            "stream",
            "tlb",
            "chase",
            "syscall",
            "noop",
        ],
    );
    plan.yardstick = Some("bytecode".to_owned());
    plan
}

fn build(name: BuildName, host: &Mutex<Host>) -> Build<'_> {
    Build { name, exact: vec![Box::new(Simulated(host))], timed: Box::new(Simulated(host)) }
}

/// The clock of a simulated host.
fn clock(host: &Mutex<Host>) -> impl Fn() -> Duration {
    || host.lock().expect("no run panicked").elapsed
}

/// Makes runs on a simulated host.
struct Simulated<'a>(&'a Mutex<Host>);

impl Executor for Simulated<'_> {
    fn execute(&mut self, spec: &RunSpec, _: &StopFlag) -> RunRecord {
        self.0.lock().expect("no run panicked").run(spec)
    }
}

fn setting(seed: u64, times: Times) -> Setting<'static> {
    Setting {
        against: "a baseline".to_owned(),
        tool: Tool { version: "evlab 0.1.0".to_owned(), git_commit: None },
        host: serde_json::Value::Null,
        rules: Rules::default(),
        times,
        tolerances: &[],
        seed,
    }
}

/// A gate of a build against the baseline of one without fault, taken at another hour.
fn gate(seed: u64, planted: Planted, times: Times) -> Report {
    gate_under(None, planted, &setting(seed, times))
}

/// The same by this setting, where the host was so busy when the baseline was taken.
fn gate_under(pressure: Option<f64>, planted: Planted, setting: &Setting<'_>) -> Report {
    let (plan, stop, seed) = (gate_plan(), StopFlag::new(), setting.seed);
    let then = Mutex::new(Host::new(2 * seed, Planted::Nothing));
    let now = Mutex::new(Host::new(2 * seed + 1, planted));
    let show = |_| -> Box<dyn crate::studio::Progress> { Box::new(Silent) };
    let mut bench = Bench::new(&plan, None, build(BuildName::Head, &then), seed, show, &stop);
    let baseline = baseline_of(&mut bench, setting, Vec::new()).expect("nobody stops it");
    assert_eq!(baseline.pressure, None, "nobody watches this host");
    let baseline = Baseline { pressure, ..baseline };
    let mut bench = Bench::new(&plan, None, build(BuildName::Head, &now), seed, show, &stop).by_clock(clock(&now));
    conduct(&mut bench, Against::Baseline(&baseline), setting).expect("nobody stops it")
}

/// The verdicts of so many gates, on all processors.
fn verdicts(gates: u64, planted: Planted) -> Vec<Verdict> {
    let half = |range: std::ops::Range<u64>| {
        move || range.map(|seed| gate(seed, planted, Times::Judge).verdict).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let halves = [scope.spawn(half(0..gates / 2)), scope.spawn(half(gates / 2..gates))];
        halves.into_iter().flat_map(|half| half.join().expect("no panic")).collect()
    })
}

fn share(verdicts: &[Verdict], wanted: Verdict) -> f64 {
    verdicts.iter().filter(|&&verdict| verdict == wanted).count() as f64 / verdicts.len() as f64
}

#[test]
fn a_build_like_the_baseline_hardly_ever_fails() {
    let verdicts = verdicts(200, Planted::Nothing);
    assert!(share(&verdicts, Verdict::Fail) <= 0.02, "{}", share(&verdicts, Verdict::Fail));
    assert!(share(&verdicts, Verdict::Pass) >= 0.9, "{}", share(&verdicts, Verdict::Pass));
}

#[test]
fn five_per_cent_on_one_engine_are_noticed() {
    let verdicts = verdicts(40, Planted::Slower(1.05));
    assert!(share(&verdicts, Verdict::Fail) >= 0.95, "{}", share(&verdicts, Verdict::Fail));
}

#[test]
fn what_is_exact_is_noticed_every_time() {
    for seed in 0..20 {
        for planted in [Planted::Exit, Planted::Result, Planted::Failure] {
            let report = gate(seed, planted, Times::Off);
            assert_eq!(report.verdict, Verdict::Fail, "{planted:?}");
            assert_eq!(
                (report.deviations.len(), report.failures.len()),
                match planted {
                    Planted::Exit => (1, 0),
                    _ => (0, 1),
                },
                "{report:?}"
            );
        }
    }
}

#[test]
fn times_that_are_only_told_fail_nothing() {
    let report = gate(3, Planted::Slower(2.0), Times::Tell);
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(report.times.iter().any(|judged| judged.standing == Standing::Suspect));
    assert!(report.sentence().contains("which was not judged"), "{}", report.sentence());
}

#[test]
fn on_a_busy_host_no_time_is_slower() {
    let setting = setting(3, Times::Judge);
    let busy = gate_under(Some(0.5), Planted::Slower(2.0), &setting);
    assert_eq!(busy.verdict, Verdict::Inconclusive, "{:?}", busy.times);
    assert!(busy.notes[0].contains("during 50% of the time"), "{:?}", busy.notes);
    let calm = gate_under(Some(0.02), Planted::Slower(2.0), &setting);
    assert_eq!(calm.verdict, Verdict::Fail, "{:?}", calm.times);
    let exact = gate_under(Some(0.5), Planted::Exit, &setting);
    assert_eq!(exact.verdict, Verdict::Fail, "counts do not depend on the load");
}

/// The note of a gate whose budget is spent.
fn cut(report: &Report) -> Option<&String> {
    report.notes.iter().find(|note| note.contains("the budget of"))
}

#[test]
fn what_the_budget_leaves_in_doubt_is_inconclusive() {
    let mut inconclusive = 0;
    for seed in 0..10 {
        // Just at the threshold: many rounds would not tell.
        let report = gate(seed, Planted::Slower(1.02), Times::Judge);
        assert!(report.seconds <= 110.0, "{} s", report.seconds);
        assert!(cut(&report).is_none() || report.verdict == Verdict::Inconclusive, "{:?}", report.notes);
        inconclusive += usize::from(cut(&report).is_some());
    }
    assert!(inconclusive > 0, "the budget was never spent");
}

#[test]
fn without_a_budget_a_gate_takes_what_it_needs() {
    let of = |budget_s| {
        let setting = setting(3, Times::Judge);
        gate_under(None, Planted::Slower(1.05), &Setting { rules: Rules { budget_s, ..setting.rules }, ..setting })
    };
    let (endless, none) = (of(None), of(Some(1)));
    assert_eq!((endless.verdict, cut(&endless)), (Verdict::Fail, None));
    // The counts and the first measurement are made in any case.
    let first = |report: &Report| report.measured.iter().all(|cell| cell.n == Rules::default().runs as usize);
    assert!(none.verdict == Verdict::Inconclusive && cut(&none).is_some() && first(&none), "{:?}", none.times);
    let open = none.times.iter().find(|judged| judged.standing == Standing::Inconclusive).expect("one at least");
    assert!(open.first.is_none() && open.ratio > 1.01, "it was not measured again: {open:?}");
    assert!(none.seconds < endless.seconds && none.counted == endless.counted);
}

#[test]
fn two_builds_are_compared_by_their_times() {
    let (plan, stop, setting) = (gate_plan(), StopFlag::new(), setting(5, Times::Judge));
    let sides = [Planted::Nothing, Planted::Slower(1.05)].map(|planted| Mutex::new(Host::new(9, planted)));
    let [base, head] = [build(BuildName::Base, &sides[0]), build(BuildName::Head, &sides[1])];
    let mut bench = Bench::new(&plan, Some(base), head, 1, |_| Box::new(Silent), &stop);
    let report = conduct(&mut bench, Against::Build, &setting).expect("nobody stops it");
    assert_eq!((report.verdict, report.reference), (Verdict::Fail, None), "{:?}", report.times);
    let slower: Vec<_> = report.times.iter().filter(|judged| judged.standing == Standing::Slower).collect();
    assert!(slower.iter().all(|judged| judged.engine == EngineId::EmuInterp), "{slower:?}");
    assert!(report.times.iter().any(|judged| judged.engine == EngineId::Native), "nothing is divided by it");
}

#[test]
fn whoever_stops_it_gets_no_answer() {
    let (plan, stop, setting) = (gate_plan(), StopFlag::new(), setting(5, Times::Judge));
    let host = Mutex::new(Host::new(9, Planted::Nothing));
    stop.stop();
    let mut bench = Bench::new(&plan, None, build(BuildName::Head, &host), 1, |_| Box::new(Silent), &stop);
    assert!(baseline_of(&mut bench, &setting, Vec::new()).is_err() && bench.runs() == 0);
}
