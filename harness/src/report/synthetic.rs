//! Experiments made up for tests. The figures are plausible and mean nothing.

use emu_min::{Decode, FlagEvaluation, Mmu};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::ablation::{setups, steps};
use crate::model::{EngineId, Setup, Status};
use crate::results::{
    Cell, CommandMeta, CounterRow, EngineMeta, Experiment, ExperimentMeta, FORMAT, HistogramRow, ImageMeta, Plan,
    Problem, RunRow, SetUp, State, Tool,
};

/// Name, native time in ns, slowdown on kvm, on emu-interp, on qemu-tcg, exits, faults.
type Work = (&'static str, f64, f64, f64, f64, u64, u64);

const WORK: [Work; 12] = [
    ("dense_mm", 8.1e6, 1.02, 61.0, 44.0, 2, 3),
    ("random_access", 21.0e6, 1.01, 9.4, 4.2, 2, 4),
    ("sieve", 4.2e6, 1.01, 24.0, 6.1, 2, 1),
    ("fib", 6.4e6, 1.0, 33.0, 8.8, 2, 0),
    ("qsort", 5.9e6, 1.03, 27.0, 5.2, 2, 1),
    ("bytecode", 7.7e6, 1.02, 29.0, 9.9, 2, 0),
    ("chase", 30.5e6, 1.05, 3.4, 2.0, 2, 2),
    ("tlb", 3.3e6, 1.08, 21.0, 17.0, 2, 900),
    ("syscall", 0.9e6, 118.0, 35.0, 12.0, 2, 0),
    ("noop", 210.0, 95.0, 12.0, 60.0, 2, 0),
    ("two_processes", 0.0, 1.0, 0.4, 0.5, 2, 12),
    ("port_io", 0.0, 1.0, 0.02, 0.6, 20_002, 0),
];

const RUNS: u32 = 5;

struct Maker {
    rng: ChaCha8Rng,
    experiment: Experiment,
}

fn meta(engines: &[EngineId]) -> ExperimentMeta {
    let mut cells = Vec::new();
    for work in WORK {
        for &engine in engines {
            if engine != EngineId::Native || work.1 > 0.0 {
                cells.push(Cell { engine: engine.into(), workload: work.0.into(), args: vec!["1000".into()] });
            }
        }
    }
    ExperimentMeta {
        format: FORMAT,
        state: State::Complete,
        tool: Tool {
            version: "evlab 0.1.0".into(),
            git_commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        },
        started: "2026-11-22T20:00:00Z".into(),
        ended: Some("2026-11-22T20:03:30Z".into()),
        plan: Plan {
            profile: "full".into(),
            runs_per_cell: RUNS,
            precision: None,
            budget_s: None,
            size: 1.0,
            seed: 42,
            ram_mib: 256,
            timeout_s: 60,
            prefault: true,
            cpu: Some("v3".into()),
            hz: None,
            deterministic: false,
            setup: Some(SetUp::Drawn),
            sandbox: Some("on".into()),
            emu: None,
            ablation: Vec::new(),
            cells,
        },
        order: Vec::new(),
        host: json!({
            "cpu": { "model": "Example CPU 9000", "cores": 2 },
            "kernel": "Linux 6.18.5",
            "kvm": { "backend": "PVM", "hardware_assisted": false, "evidence": "/sys/module/kvm_pvm" },
            "governor": null,
            "load": [0.4, 0.2, 0.1],
        }),
        engines: EngineId::ALL
            .into_iter()
            .map(|id| {
                let there = engines.contains(&id);
                EngineMeta {
                    id,
                    version: there.then(|| format!("{id} 1.0")),
                    missing: (!there).then(|| "qemu-system-x86_64 is not installed".into()),
                    fix: (!there).then(|| "apt-get install qemu-system-x86".into()),
                }
            })
            .collect(),
        images: vec![ImageMeta { name: "kernel".into(), sha256: "ab".repeat(32), bytes: 40_960 }],
        commands: vec![CommandMeta {
            engine: EngineId::QemuTcg.into(),
            workload: "sieve".into(),
            argv: vec![
                "qemu-system-x86_64".into(),
                "-M".into(),
                "microvm,acpi=off".into(),
                "-append".into(),
                "tsc_khz=3700000 -- sieve 1000".into(),
            ],
        }],
        problems: Vec::new(),
    }
}

impl Maker {
    fn new(engines: &[EngineId]) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(1),
            experiment: Experiment {
                meta: meta(engines),
                runs: Vec::new(),
                counters: Vec::new(),
                histograms: Vec::new(),
                warnings: Vec::new(),
            },
        }
    }

    fn all(mut self) -> Experiment {
        let cells = self.experiment.meta.plan.cells.clone();
        for round in 0..RUNS {
            for (i, cell) in cells.iter().enumerate() {
                let run = round * cells.len() as u32 + i as u32 + 1;
                self.run(run, cell);
            }
        }
        self.experiment
    }

    fn run(&mut self, run: u32, cell: &Cell) {
        let Some(work) = WORK.into_iter().find(|w| w.0 == cell.workload) else {
            return;
        };
        let (name, native, kvm, interp, tcg, exits, faults) = work;
        let base = if native > 0.0 { native } else { 5e3 * exits as f64 };
        let (factor, startup) = match cell.engine.id {
            EngineId::Native => (1.0, 0.6e6),
            EngineId::Kvm => (kvm, 5.2e6),
            EngineId::QemuKvm => (kvm * 1.04, 41e6),
            EngineId::EmuDbt => (1.0 + interp * 0.15, 2.3e6),
            EngineId::EmuInterp => (interp, 2.1e6),
            EngineId::EmuNaive => (interp * 7.5, 2.2e6),
            EngineId::QemuTcg => (tcg, 38e6),
        };
        let noise = 1.0 + self.rng.random_range(0.0..0.06f64).powi(2) * 12.0;
        let roi = base * factor * noise;
        self.experiment.runs.push(RunRow {
            run,
            engine: cell.engine,
            workload: name.into(),
            args: cell.args.join(" "),
            image_sha256: "cd".repeat(32),
            status: Status::Ok,
            checksum: Some("00c0ffee00c0ffee".into()),
            roi_host_ns: Some(roi as u64),
            roi_guest_ns: Some((roi * 0.999) as u64),
            wall_ns: (roi + startup * 1.5) as u64,
            startup_ns: Some((startup * noise) as u64),
            guest_instructions: cell.engine.id.has_emulated_cpu().then_some((base * 3.4) as u64),
        });
        self.count(run, cell.engine.id, base, roi, exits, faults);
    }

    fn count(&mut self, run: u32, engine: EngineId, base: f64, roi: f64, exits: u64, faults: u64) {
        let counters = &mut self.experiment.counters;
        let mut add = |source: &str, counter: &str, value: u64| {
            counters.push(CounterRow { run, source: source.into(), counter: counter.into(), value });
        };
        let emulated = engine.has_emulated_cpu();
        if emulated || engine == EngineId::Kvm {
            let interrupted = u64::from(run.is_multiple_of(3)) * 4;
            add("vmm", "exit.io", exits);
            add("vmm", "exit.intr", interrupted);
            add("vmm", "exit.io_ns", exits * 110);
            add("vmm", "exit.total", exits + interrupted);
            let serve = (exits * 110).min(roi as u64 / 2);
            add("vmm", "serve_ns", serve);
            add("vmm", "run_ns", roi as u64 - serve);
            add("vmm", "total.exit.total", exits + 90);
            add("vmm", "exit.io.scratch", exits - 1);
            add("vmm", "exit.io.scratch_ns", (exits - 1) * 108);
            add("vmm", "exit.io.marker", 1);
            let stay = if emulated { 60 } else { 9_000 };
            for (name, median) in [("exit.io", 104), ("exit.io.scratch", 104), ("run.io", stay)] {
                for (end, factor) in [("p50_ns", 1), ("p90_ns", 2), ("p99_ns", 4), ("max_ns", 30)] {
                    add("vmm", &format!("{name}.{end}"), median * factor);
                }
                // Half of them take the usual time, most others twice as long.
                let counts = [exits / 2, exits * 4 / 10, exits * 9 / 100, exits / 100];
                for (factor, count) in [1, 2, 4, 30].into_iter().zip(counts).filter(|c| c.1 > 0) {
                    let from_ns = median * factor;
                    let (latency, to_ns) = (name.to_owned(), from_ns + 8);
                    self.experiment.histograms.push(HistogramRow { run, latency, from_ns, to_ns, count });
                }
            }
        }
        let parts: &[(&str, f64)] = match engine {
            EngineId::Native => &[("guest_user", 0.97), ("host_kernel", 0.03)],
            EngineId::Kvm => &[("guest", 0.6), ("host_kernel", 0.3), ("host_user", 0.05), ("off_cpu", 0.05)],
            EngineId::QemuKvm => &[("mixed", 0.9), ("off_cpu", 0.1)],
            EngineId::QemuTcg => &[("mixed", 0.95), ("host_kernel", 0.02), ("off_cpu", 0.03)],
            EngineId::EmuDbt | EngineId::EmuInterp | EngineId::EmuNaive => {
                &[("guest_user", 0.8), ("guest_kernel", 0.1), ("host_user", 0.06), ("idle", 0.04)]
            }
        };
        let source = if emulated || engine == EngineId::Kvm { "vmm" } else { "host" };
        for (name, share) in parts.iter().chain([&("error", 0.01)]) {
            add(source, &format!("quadrant.{name}_ns"), (roi * share) as u64);
        }
        if matches!(engine, EngineId::Kvm | EngineId::QemuKvm) {
            let prefix = if engine == EngineId::QemuKvm { "total." } else { "" };
            for (name, value) in [("exits", exits + 370), ("insn_emulation", 4996), ("io_exits", 0), ("halt_exits", 2)]
            {
                add("kvm", &format!("{prefix}{name}"), value);
            }
        }
        let instructions = (base * 3.4) as u64;
        if matches!(engine, EngineId::EmuInterp | EngineId::EmuDbt) {
            add("emu", "instructions", instructions);
            add("emu", "tlb.hit", instructions / 3);
            add("emu", "tlb.miss", 40 + faults * 20);
            add("emu", "page.walk", 40 + faults * 20);
            add("emu", "exception.pf", faults);
            add("emu", "block.decoded", 61);
            add("emu", "block.executed", instructions / 6);
        }
        if engine == EngineId::EmuDbt {
            add("emu", "tier.interpreted", instructions / 50);
            add("emu", "tier.translated", instructions - instructions / 50);
            add("emu", "link.hit", 980);
            add("emu", "link.miss", 20);
            add("emu", "translated.link", 31);
            add("emu", "total.block.translated", 140);
            add("emu", "total.translate_ns", 1_400_000);
            add("emu", "total.code.bytes", 31_000);
            add("emu", "total.code.guest_bytes", 2_600);
        }
        if engine == EngineId::EmuNaive {
            add("emu", "instructions", instructions);
            add("emu", "tlb.hit", 0);
            add("emu", "tlb.miss", instructions * 4 / 3);
            add("emu", "page.walk", instructions * 4 / 3);
            add("emu", "exception.pf", faults);
        }
        if engine == EngineId::QemuTcg {
            add("qemu", "total.jit.tb_count", 497);
            add("qemu", "total.jit.tb_avg_target_bytes", 20);
            add("qemu", "total.jit.tb_avg_host_bytes", 331);
            add("qemu", "total.jit.tb_flush", 0);
        }
    }
}

/// Everything ran and ended well.
pub(crate) fn full() -> Experiment {
    Maker::new(&EngineId::ALL).all()
}

/// Stopped early on a host without QEMU: some cells have few runs, some none.
pub(crate) fn partial() -> Experiment {
    let engines = [EngineId::Native, EngineId::Kvm, EngineId::EmuInterp];
    let mut experiment = Maker::new(&engines).all();
    experiment.meta.state = State::Interrupted;
    experiment.meta.ended = None;
    experiment.runs.truncate(50);
    experiment.counters.retain(|c| c.run <= 50);
    experiment.histograms.retain(|h| h.run <= 50);
    experiment.warnings.push("runs.csv: the last line is torn and left out".into());
    experiment
}

/// Planned, and killed before the first run ended.
pub(crate) fn empty() -> Experiment {
    let mut experiment = Maker::new(&EngineId::ALL).experiment;
    experiment.meta.state = State::Running;
    experiment.meta.ended = None;
    experiment
}

/// One engine computed something else, one run failed, one clock disagrees.
pub(crate) fn mismatch() -> Experiment {
    let mut experiment = full();
    for run in &mut experiment.runs {
        if run.engine == EngineId::EmuInterp && run.workload == "qsort" {
            run.status = Status::Mismatch;
            run.checksum = Some("bad0bad0bad0bad0".into());
        }
        if run.engine == EngineId::QemuKvm && run.workload == "sieve" {
            run.status = Status::Failed;
            run.roi_host_ns = None;
            run.checksum = None;
            experiment.meta.problems.push(Problem {
                run: run.run,
                engine: run.engine,
                workload: run.workload.clone(),
                status: run.status,
                message: "the guest ended with code 139".into(),
                console: "#PF at 0x401000".into(),
            });
        }
        if run.engine == EngineId::QemuTcg && run.workload == "chase" {
            run.roi_guest_ns = run.roi_host_ns.map(|ns| ns * 9 / 10);
        }
    }
    experiment
}

/// Names and outputs that try to break out of the page.
pub(crate) fn hostile() -> Experiment {
    const EVIL: &str = "</svg><script>alert('x')</script>\u{1b}[31m&\"<b>";
    let mut experiment = mismatch();
    for run in &mut experiment.runs {
        if run.workload == "fib" {
            run.workload = EVIL.into();
            run.args = EVIL.into();
        }
        if run.workload == "bytecode" {
            run.workload = "a_program_with_a_very_long_name_that_does_not_fit_anywhere".into();
        }
    }
    for counter in &mut experiment.counters {
        if counter.counter == "exit.intr" {
            counter.counter = format!("exit.{EVIL}");
            counter.value = 7;
        }
    }
    for problem in &mut experiment.meta.problems {
        problem.console = EVIL.into();
        problem.message = EVIL.into();
    }
    experiment.meta.host = json!({ "cpu": { "model": EVIL } });
    experiment.meta.tool.version = EVIL.into();
    experiment.meta.engines[0].version = Some(EVIL.into());
    experiment.meta.commands[0].argv.push(EVIL.into());
    experiment.warnings.push(EVIL.into());
    experiment
}

/// An ablation of a few workloads, with plausible effects.
pub(crate) fn ablation() -> Experiment {
    const WORKLOADS: [(&str, f64); 4] = [("sieve", 4.2e6), ("bytecode", 7.7e6), ("syscall", 0.9e6), ("port_io", 0.0)];
    let steps = steps(&[EngineId::Native, EngineId::Kvm, EngineId::EmuDbt, EngineId::EmuInterp, EngineId::EmuNaive]);
    let mut experiment = Maker::new(&EngineId::ALL).experiment;
    let plan = &mut experiment.meta.plan;
    (plan.runs_per_cell, plan.cells) = (3, Vec::new());
    for (workload, native) in WORKLOADS {
        let setups = setups(&steps).into_iter().filter(|s| native > 0.0 || s.id != EngineId::Native);
        plan.cells.extend(setups.map(|engine| Cell { engine, workload: workload.into(), args: vec!["1000".into()] }));
    }
    plan.ablation = steps;
    let cells = plan.cells.clone();
    for run in 1..=cells.len() as u32 * 3 {
        let index = (run as usize - 1) % cells.len();
        let cell = &cells[index];
        let (which, native) =
            WORKLOADS.iter().enumerate().find(|w| w.1.0 == cell.workload).map_or((0, 1e6), |w| (w.0, w.1.1));
        let roi = native.max(2e5) * factor(cell.engine, which) * (1.0 + f64::from(run % 7) * 0.004);
        experiment.runs.push(RunRow {
            run,
            engine: cell.engine,
            workload: cell.workload.clone(),
            args: "1000".into(),
            image_sha256: "cd".repeat(32),
            status: Status::Ok,
            checksum: Some("00c0ffee00c0ffee".into()),
            roi_host_ns: Some(roi as u64),
            roi_guest_ns: Some(roi as u64),
            wall_ns: (roi * 1.5) as u64,
            startup_ns: Some(5_000_000),
            guest_instructions: cell.engine.id.has_emulated_cpu().then_some((native.max(2e5) * 3.4) as u64),
        });
        if let Some(mechanisms) = cell.engine.mechanisms() {
            let walk = mechanisms.mmu == Mmu::Walk;
            let accesses = (native.max(2e5) * 3.4 * 1.4) as u64;
            let mut add = |counter: &str, value| {
                let (source, counter) = ("emu".to_owned(), counter.to_owned());
                experiment.counters.push(CounterRow { run, source, counter, value });
            };
            add("tlb.hit", if walk { 0 } else { accesses });
            add("tlb.miss", if walk { accesses } else { 300 });
            add("page.walk", if walk { accesses } else { 300 });
            if mechanisms.translate {
                add("tier.translated", 990);
                add("tier.interpreted", 10);
                add("total.block.translated", 120);
                add("total.code.bytes", 24_000);
                add("total.translate_ns", 900_000);
                add("total.flush.cr3", 4);
            }
        }
    }
    experiment
}

/// How many times the time of native a setup takes, on workloads that differ a little.
fn factor(setup: Setup, workload: usize) -> f64 {
    let Some(m) = setup.mechanisms() else { return if setup == EngineId::Kvm { 1.03 } else { 1.0 } };
    let tilt = 1.0 + workload as f64 * 0.15;
    let translated = if m.translate { 5.0 * tilt } else { 1.0 };
    let gains = [
        (m.decode == Decode::Cached, 6.0),
        (m.mmu == Mmu::Tlb, 7.5),
        (m.flags == FlagEvaluation::Lazy, 1.25),
        (m.link, 1.3),
        (m.fuse, 1.1),
        // One that costs a little.
        (m.bulk, 0.97),
        (m.chain, 1.6),
        (m.inline_cache, 1.1),
        (m.window, 1.2),
    ];
    let gain: f64 = gains.iter().filter(|g| g.0).map(|g| g.1 * (1.0 + (tilt - 1.0) * 0.2)).product();
    2400.0 / gain / translated
}

/// An ablation of a workload whose name tries to break out.
pub(crate) fn hostile_ablation() -> Experiment {
    const EVIL: &str = "</svg><script>alert('x')</script>\u{1b}[31m&\"<b>../../a_name_that_goes_on_and_on";
    let mut experiment = ablation();
    for cell in experiment.meta.plan.cells.iter_mut().filter(|c| c.workload == "sieve") {
        cell.workload = EVIL.into();
    }
    for run in experiment.runs.iter_mut().filter(|r| r.workload == "sieve") {
        run.workload = EVIL.into();
    }
    experiment
}
