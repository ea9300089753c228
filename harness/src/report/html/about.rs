//! Where, how and with what it was measured.

use serde_json::Value;

use super::view::{Cell, Fact, Missing, Table};
use crate::host::KvmBackend;
use crate::meaning::quadrant;
use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::report::units;
use crate::results::{EngineMeta, Experiment, ExperimentMeta, Plan, RunRow, SetUp};
use crate::studio::{CAP, FEWEST};

/// When and where, in one line.
pub(super) fn subtitle(experiment: &Experiment) -> String {
    let meta = &experiment.meta;
    line(&meta.started, &meta.host, &meta.tool.version)
}

/// A time, the processor of a host and a program, in one line.
pub(super) fn line(started: &str, host: &Value, tool: &str) -> String {
    let cpu = find(host, &["cpu_model", "cpu.model", "cpu"]).unwrap_or_default();
    // Whole seconds: 2026-01-02T03:04:05.678Z is read as 2026-01-02 03:04:05 UTC.
    let seconds = started.split(['.', 'Z']).next().unwrap_or_default();
    let parts = [format!("{} UTC", seconds.replace('T', " ")), cpu, tool.to_owned()];
    parts.iter().filter(|p| !p.is_empty()).cloned().collect::<Vec<_>>().join(" · ")
}

/// The first of these dotted paths that holds a text.
fn find(host: &Value, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| {
        let value = path.split('.').try_fold(host, |value, key| value.get(key))?;
        value.as_str().map(str::to_owned)
    })
}

/// Engines that the host lacks.
pub(super) fn missing(engines: &[EngineMeta]) -> Vec<Missing> {
    let missing = engines.iter().filter_map(|e| {
        Some(Missing { engine: e.id.to_string(), reason: e.missing.clone()?, fix: e.fix.clone().unwrap_or_default() })
    });
    missing.collect()
}

/// The backend of KVM on the host of the experiment, if it was recorded.
pub(super) fn backend(experiment: &Experiment) -> Option<KvmBackend> {
    let backend = experiment.meta.host.get("kvm")?.get("backend")?;
    serde_json::from_value(backend.clone()).ok()
}

/// How each engine that has parts of its time knows them.
pub(super) fn quadrant_methods(experiment: &Experiment, summary: &Summary, counters: &Counters) -> Vec<Fact> {
    let backend = backend(experiment);
    let has = |engine: Setup| summary.workloads.iter().any(|w| counters.quadrants(engine, &w.label).is_some());
    let mut ids: Vec<EngineId> = summary.engines.iter().filter(|&&e| has(e)).map(|e| e.id).collect();
    ids.dedup();
    let fact = |id: EngineId| Fact { name: id.to_string(), value: quadrant::method(id, backend).to_owned() };
    ids.into_iter().map(fact).collect()
}

/// A heading and a warning where KVM ran, and not on the hardware as most readers expect.
pub(super) fn backend_warning(experiment: &Experiment) -> Option<(String, String)> {
    let ran = |e: EngineId| experiment.runs.iter().any(|r| r.engine.id == e);
    if !ran(EngineId::Kvm) && !ran(EngineId::QemuKvm) {
        return None;
    }
    warning(&experiment.meta.host)
}

/// The same of a host on which guests ran on KVM.
pub(super) fn warning(host: &Value) -> Option<(String, String)> {
    let kvm = host.get("kvm")?;
    let nested = kvm.get("nested").and_then(Value::as_bool) == Some(true);
    let (heading, text) = match kvm.get("backend").and_then(Value::as_str)? {
        "PVM" => (
            "Not hardware virtualization.",
            "KVM ran on the PVM backend: not hardware-assisted. The guest's programs run on the CPU itself, but its kernel \
             is emulated instruction by instruction and exits cost more than with VT-x or AMD-V. Do not quote these figures \
             as those of hardware virtualization, and do not compare them with figures from another backend.",
        ),
        "VT-x" | "AMD-V" if nested => (
            "Nested virtualization.",
            "The host is itself a guest: each exit passes through the outer hypervisor and costs a multiple of one on bare \
             metal. Do not compare these figures with those of a host that is not nested.",
        ),
        "VT-x" | "AMD-V" => return None,
        _ => (
            "Unknown KVM backend.",
            "It could not be told what KVM ran on, so these figures must not be quoted as those of hardware virtualization.",
        ),
    };
    Some((heading.to_owned(), text.to_owned()))
}

/// The host as it was recorded, one fact per leaf.
pub(super) fn host(host: &Value) -> Vec<Fact> {
    facts(host)
}

fn facts(value: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    flatten("", value, &mut facts);
    facts
}

fn flatten(name: &str, value: &Value, facts: &mut Vec<Fact>) {
    let below = |key: &str| {
        let key = key.replace('_', " ");
        if name.is_empty() { key } else { format!("{name}: {key}") }
    };
    let leaf = |text: String| Fact { name: name.to_owned(), value: text };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&below(key), value, facts)),
        Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
            for (i, item) in items.iter().enumerate() {
                flatten(&below(&(i + 1).to_string()), item, facts);
            }
        }
        Value::Array(items) => facts.push(leaf(items.iter().map(text).collect::<Vec<_>>().join(", "))),
        other => facts.push(leaf(text(other))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(|| n.to_string(), units::number),
        other => other.to_string(),
    }
}

/// How it was measured, one sentence each.
pub(super) fn method(experiment: &Experiment) -> Vec<String> {
    let plan = &experiment.meta.plan;
    let prefault = if plan.prefault {
        "Guest RAM was backed by host memory before the region of interest began (prefault), so no engine pays there for \
         the host finding memory."
    } else {
        "Guest RAM was not backed before the region of interest (no prefault), so the first touch of a page by the guest \
         includes the host finding memory for it."
    };
    let mut method = vec![
        format!(
            "{} of each cell (one engine with one workload), each a process of its own, interleaved in an order shuffled \
             with seed {}: each round holds every cell once, so a slow phase of the host hits all engines alike.",
            if plan.runs_per_cell == 1 { "1 run".to_owned() } else { format!("{} runs", plan.runs_per_cell) },
            plan.seed
        ),
        "The time is that of the region of interest, from the program's first B to its E, by the time-stamp counter that \
         the program reads inside the two markers: their way to the host is no part of it. The host stamps the markers \
         too, and the two clocks are compared."
            .to_owned(),
        "The middle is the median; no run is thrown out as an outlier. Intervals are 95% percentile bootstraps, 4,000 \
         resamples; for a ratio both medians are resampled. With fewer than 3 runs there is no interval; with 3 to 5 it \
         is in effect their range, which covers 75%, 87.5% and 93.75%."
            .to_owned(),
        "Means are geometric, of ratios, over the same guest bytes on each engine; programs and system workloads are kept \
         apart, and the empty region of interest is in neither."
            .to_owned(),
        prefault.to_owned(),
        format!(
            "Guest RAM {} MiB, time limit {} s a run, work scaled by {}.{}",
            plan.ram_mib,
            plan.timeout_s,
            plan.size,
            emulated_cpu(plan).map(|model| format!(" The emulated CPU is x86-64-{model}.")).unwrap_or_default()
        ),
        "Ratios inside one experiment may be compared; absolute times of different hosts, or of different KVM backends, \
         may not."
            .to_owned(),
    ];
    method.push(setup(plan).to_owned());
    method.extend(repetition(plan));
    if let Some(hz) = plan.hz {
        method.push(format!("The timer of every guest interrupted it {hz} times a second (--hz {hz})."));
    }
    if let Some(choices) = &plan.emu {
        method.push(format!(
            "The emulated CPUs did not have their usual mechanisms: --emu {choices}. Engines that differ are named with what \
             is otherwise."
        ));
    }
    if !plan.ablation.is_empty() {
        method.push(
            "An ablation: each step is an engine with its mechanisms, and each is compared with the step named in \
             experiment.json. All steps of a workload do the same work. A factor is a ratio of two medians, both \
             resampled; above 1 the mechanism pays."
                .to_owned(),
        );
    }
    let by_host = |r: &&RunRow| r.roi_guest_ns.is_none() && r.roi_host_ns.is_some_and(|ns| ns < 100_000);
    let short = experiment.runs.iter().filter(by_host).count();
    if short > 0 {
        method.push(format!(
            "{} runs print no ticks and have a region of interest shorter than 0.1 ms, in which the markers themselves weigh; read such \
             ratios as upper bounds.",
            units::count(short as u64)
        ));
    }
    method
}

/// Where stack and program lay.
const fn setup(plan: &Plan) -> &'static str {
    match plan.setup {
        Some(SetUp::Drawn) => {
            "Each run drew its set-up from the seed and its number: the size of the program's environment, which moves its stack \
             on every engine, and on kvm and emu-* how far up in guest RAM the program is loaded. What a place does to the \
             time is thus in the intervals, and does not favour an engine in all runs (Mytkowicz et al., ASPLOS 2009)."
        }
        Some(SetUp::Fixed) | None => {
            "Stack and program lay at the same place in the guest in all runs, so what that place does to the time is in no interval."
        }
    }
}

/// How rounds were added to those planned.
fn repetition(plan: &Plan) -> Option<String> {
    let until = match (plan.precision, plan.budget_s) {
        (None, None) => return None,
        (None, Some(seconds)) => format!("Whole rounds were added until {seconds} s were over (--budget)."),
        (Some(precision), budget) => format!(
            "Rounds of the cells that were not precise enough, and of their baselines, were added until the 95% interval of each \
             ratio had a half width of {} of the ratio (--precision) with at least {FEWEST} runs on both sides, a cell had {CAP} \
             runs{}. The empty region of interest was not asked for it.",
            units::percentage(precision),
            budget.map(|seconds| format!(", or {seconds} s were over (--budget)")).unwrap_or_default()
        ),
    };
    Some(until)
}

/// The command that plans this experiment again.
pub(super) fn command(plan: &Plan) -> String {
    let ablation = !plan.ablation.is_empty();
    let mut words = vec![if ablation { "evlab ablate" } else { "evlab studio" }.to_owned()];
    if plan.profile == "quick" {
        words.push("--quick".to_owned());
    }
    let mut engines: Vec<String> = Vec::new();
    let mut workloads: Vec<String> = Vec::new();
    for cell in &plan.cells {
        let engine = cell.engine.id.to_string();
        if !engines.contains(&engine) {
            engines.push(engine);
        }
        if !workloads.contains(&cell.workload) {
            workloads.push(cell.workload.clone());
        }
    }
    // An ablation takes its workloads without a flag and chooses the engines itself.
    let (engines, flag) = if ablation { (Vec::new(), "") } else { (engines, "--workloads ") };
    for (flag, names) in [("--engines ", engines), (flag, workloads)] {
        if !names.is_empty() {
            words.push(format!("{flag}{}", names.join(",")));
        }
    }
    words.push(format!("--runs {} --seed {}", plan.runs_per_cell, plan.seed));
    words.extend(plan.precision.map(|p| format!("--precision {}%", (p * 1e6).round() / 1e4)));
    words.extend(plan.budget_s.map(|seconds| format!("--budget {seconds}s")));
    words.push(format!("--size {} --ram {} --timeout {}", plan.size, plan.ram_mib, plan.timeout_s));
    if !plan.prefault {
        words.push("--prefault off".to_owned());
    }
    if plan.deterministic {
        words.push("--deterministic".to_owned());
    } else if plan.setup != Some(SetUp::Drawn) {
        words.push("--fixed-setup".to_owned());
    }
    if let Some(hz) = plan.hz {
        words.push(format!("--hz {hz}"));
    }
    if let Some(model) = emulated_cpu(plan) {
        words.push(format!("--cpu {model}"));
    }
    if let Some(choices) = &plan.emu {
        words.push(format!("--emu {choices}"));
    }
    words.join(" ")
}

/// The model of the emulated CPU, if an engine has one and it was recorded.
fn emulated_cpu(plan: &Plan) -> Option<&str> {
    plan.cpu.as_deref().filter(|_| plan.cells.iter().any(|cell| cell.engine.id.has_emulated_cpu()))
}

/// The tool and the engines.
pub(super) fn versions(meta: &ExperimentMeta) -> Vec<Fact> {
    let commit = meta.tool.git_commit.as_ref().map(|c| format!(", commit {c}")).unwrap_or_default();
    let tool = Fact { name: "tool".to_owned(), value: format!("{}{commit}", meta.tool.version) };
    let engines = meta.engines.iter().filter_map(|e| Some(Fact { name: e.id.to_string(), value: e.version.clone()? }));
    std::iter::once(tool).chain(engines).collect()
}

/// The guest images.
pub(super) fn images(meta: &ExperimentMeta) -> Table {
    let mut table = Table::new("Guest images", ["image", "bytes", "SHA-256"]);
    for image in &meta.images {
        table.rows.push(vec![
            Cell::code(&image.name),
            Cell::number(Some(image.bytes as f64), |_| units::count(image.bytes)),
            Cell::code(&image.sha256),
        ]);
    }
    table
}

/// Command lines of child processes.
pub(super) fn commands(meta: &ExperimentMeta) -> Vec<Fact> {
    let commands = meta.commands.iter();
    commands
        .map(|c| Fact {
            name: format!("{} on {}", c.workload, c.engine),
            value: c.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        })
        .collect()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
