//! The pages: each one file that needs nothing else.
//!
//! Texts reach it through askama, which escapes them; only charts are inserted as they are, and those escape their own.

mod ablation;
mod about;
mod attacks;
mod checks;
mod clocks;
mod events;
mod explain;
mod frame;
mod ladder;
mod power;
mod sheet;
mod tables;
mod translators;
mod verdict;
mod view;

use askama::Template;

use super::charts::{Chart, ChartError, waterfall_name};
use super::data::Data;
use crate::ablation::Analysis;
use crate::results::{Experiment, State};
use frame::Frame;
pub(crate) use sheet::{crowd, isolation, micro, warmup};
use view::{Explanation, Fact, Figure, KeyFigure, Mechanisms, Missing, Part, Table, Trouble, Waterfall};

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    frame: Frame,
    /// Planned runs of each cell.
    n: u32,
    /// How far the experiment came, where not to its end.
    state: Option<String>,
    alerts: Vec<String>,
    verdict: Vec<String>,
    key_figures: Vec<KeyFigure>,
    reason: Option<String>,
    /// What each mechanism is worth, of an ablation.
    mechanisms: Option<Mechanisms>,
    slowdown: Option<Figure>,
    slowdown_table: Table,
    ladder: Option<Figure>,
    ladder_table: Table,
    exits: Option<Figure>,
    exits_table: Table,
    latency: Option<Figure>,
    exit_times: Table,
    kvm_statistics: Table,
    time: Option<Figure>,
    quadrants: Option<Figure>,
    quadrants_table: Table,
    quadrant_methods: Vec<Fact>,
    emulator: Option<Figure>,
    translators: Table,
    emulator_counters: Table,
    explanations: Vec<Explanation>,
    /// What one event costs.
    events: Part,
    /// Whether hostile guests are contained.
    attacks: Part,
    startup: Option<Figure>,
    startup_table: Table,
    checksums: Table,
    troubles: Vec<Trouble>,
    clocks: Vec<String>,
    empty_regions: Table,
    flagged_runs: Table,
    /// What the host can tell, where it was calibrated.
    power: Vec<String>,
    power_table: Table,
    missing: Vec<Missing>,
    backend: Option<(String, String)>,
    host: Vec<Fact>,
    method: Vec<String>,
    command: String,
    versions: Vec<Fact>,
    images: Table,
    commands: Vec<Fact>,
    warnings: Vec<String>,
    runs: Table,
    /// How many runs there are, where not all are in the table.
    all_runs: Option<usize>,
}

/// The page of an experiment.
pub(super) fn page(data: &Data<'_>, charts: &[Chart]) -> Result<String, super::ReportError> {
    let figure = |name: &str, caption: &str| figure(charts, name, caption);
    let experiment = data.experiment;
    let counters = &data.counters;
    // What compares engines shows the engines as they are; what vouches for the runs shows all of them.
    let (engines, summary) = data.engines();
    let meta = &experiment.meta;
    let title =
        if data.analysis.is_some() { "What each mechanism is worth" } else { "Emulation versus virtualization" };
    let beside = &data.companions;
    let page = Page {
        frame: Frame::new(title, about::subtitle(experiment)),
        n: meta.plan.runs_per_cell,
        state: state(experiment),
        alerts: alerts(data),
        verdict: verdict(data),
        key_figures: verdict::figures(summary),
        reason: verdict::reason(summary, counters),
        mechanisms: data.analysis.as_ref().map(|analysis| mechanisms(data, analysis, charts)).transpose()?,
        slowdown: figure("slowdown", SLOWDOWN)?,
        slowdown_table: tables::slowdown(summary, meta.plan.runs_per_cell),
        ladder: figure("ladder", LADDER)?,
        ladder_table: ladder::table(summary),
        exits: figure("exits", EXITS)?,
        exits_table: tables::exits(summary, counters),
        latency: figure("latency", LATENCY)?,
        exit_times: tables::exit_times(summary, counters),
        kvm_statistics: tables::kvm_statistics(summary, counters, about::backend(experiment)),
        time: figure("time", TIME)?,
        quadrants: figure("quadrants", QUADRANTS)?,
        quadrants_table: tables::quadrants(summary, counters),
        quadrant_methods: about::quadrant_methods(experiment, summary, counters),
        emulator: figure("emulator", EMULATOR)?,
        translators: translators::table(summary, counters),
        emulator_counters: translators::all(summary, counters),
        explanations: explain::all(summary, counters),
        events: events::part(beside.micro.as_ref().map(|found| &found.content))?,
        attacks: attacks::part(beside.isolation.as_ref().map(|found| &found.content)),
        startup: figure("startup", STARTUP)?,
        startup_table: tables::startup(engines),
        checksums: checks::checksums(experiment, &data.summary),
        troubles: checks::troubles(experiment),
        clocks: clocks::sentences(&data.clocks),
        empty_regions: clocks::empty(&data.clocks),
        flagged_runs: clocks::flagged(&data.clocks),
        power: power::sentences(data.calibration.as_ref()),
        power_table: power::table(data.calibration.as_ref()),
        missing: about::missing(&meta.engines),
        backend: about::backend_warning(experiment),
        host: about::host(&meta.host),
        method: about::method(experiment),
        command: about::command(&meta.plan),
        versions: about::versions(meta),
        images: about::images(meta),
        commands: about::commands(meta),
        warnings: experiment.warnings.iter().chain(&beside.warnings).cloned().collect(),
        runs: tables::runs(experiment),
        all_runs: Some(experiment.runs.len()).filter(|&n| n > tables::MOST_RUNS),
    };
    Ok(page.render()? + "\n")
}

fn figure(charts: &[Chart], name: &str, caption: &str) -> Result<Option<Figure>, ChartError> {
    let chart = charts.iter().find(|c| c.name == name);
    chart.map(|c| Figure::of(c, caption)).transpose()
}

/// What the data says: of an ablation first what its mechanisms are worth.
fn verdict(data: &Data<'_>) -> Vec<String> {
    let (experiment, summary) = data.engines();
    let usual = verdict::sentences(experiment, summary);
    let worth = data.analysis.as_ref().and_then(ablation::verdict);
    worth.into_iter().chain(usual).collect()
}

/// What must not be overlooked, of the runs and of the attacks.
fn alerts(data: &Data<'_>) -> Vec<String> {
    let mut alerts = checks::alerts(data.experiment, &data.summary);
    alerts.extend(data.companions.isolation.iter().flat_map(|found| attacks::alerts(&found.content)));
    alerts
}

fn mechanisms(data: &Data<'_>, analysis: &Analysis, charts: &[Chart]) -> Result<Mechanisms, ChartError> {
    let mut waterfalls = Vec::new();
    for (i, workload) in data.summary.workloads.iter().enumerate() {
        let name = waterfall_name(i, &workload.label);
        waterfalls.extend(figure(charts, &name, WATERFALL)?.map(|figure| Waterfall {
            workload: workload.label.clone(),
            figure,
            table: ablation::steps(analysis, &workload.label),
        }));
    }
    Ok(Mechanisms {
        figure: figure(charts, "mechanisms", MECHANISMS)?,
        topics: ablation::topics(data, analysis),
        effects: ablation::effects(analysis),
        waterfalls,
    })
}

fn state(experiment: &Experiment) -> Option<String> {
    let plan = &experiment.meta.plan;
    // Rounds may have been added to those that were planned at first.
    let planned = (plan.cells.len() * plan.runs_per_cell as usize).max(experiment.meta.order.len());
    let done = experiment.runs.len();
    let how = match experiment.meta.state {
        State::Complete if done >= planned => return None,
        State::Complete => "is incomplete",
        State::Interrupted => "was interrupted",
        State::Running => "is still running, or was killed",
    };
    Some(format!("This experiment {how}: {done} of {planned} planned runs have ended. What follows is what they say."))
}

const SLOWDOWN: &str = "Each marker is the median time of the region of interest divided by the baseline's median; the \
    line through it is the 95% bootstrap interval. Engines on KVM lie near 1× where a program computes, since the CPU \
    itself executes it; emulators lie where their work per guest instruction puts them. Workloads for which native does \
    not apply are set against kvm, on an axis of their own.";
const LADDER: &str = "Each rung is an engine, and each does away with one cost of the rung above it in the chart; the axis is \
    logarithmic, so equal bars are equal factors and the factors multiply to the whole. Programs and system workloads have a \
    ladder each, since a system call costs other things than a loop: where the guest's kernel is what is measured, a \
    hypervisor can be dearer than a translator.";
const EXITS: &str = "An exit is the guest leaving its CPU because somebody else must act. The engines of this repository \
    share one machine, so the same guest makes the same port accesses on each of them; an emulated CPU pays \
    nanoseconds for what costs a hardware-assisted one a switch of worlds.";
const LATENCY: &str = "Left: from KVM_RUN's return, or the emulated CPU's, to its next entry: what the VMM does. Right: from \
    there to the next exit, which is the way into the guest, the guest's own work and the way out; where the guest does \
    nothing but exit, it is the price of an exit. All runs of a workload are counted together; the steps of a curve are as \
    wide as lengths are told apart (6%), and its last part is drawn up to 99.9%.";
const TIME: &str = "The machine stamps the time before and after each exit. The hatched part is the VMM serving exits; \
    the solid part is the virtual CPU, and on kvm it includes the way into the guest and out of it.";
const QUADRANTS: &str = "Guest user is the program, guest kernel the kernel in the guest; host kernel is KVM and Linux, host \
    user the VMM or the emulator. What an engine cannot tell apart is drawn as one part, never guessed. Off the processor is \
    time that Linux gave to others.";
const EMULATOR: &str = "What makes one workload dearer to emulate than another: an access that the soft TLB cannot answer \
    costs a page walk, which reads the guest's page tables step by step; an exception ends a block and enters the guest's \
    kernel. emu-naive has no TLB, so every access is a walk.";
const MECHANISMS: &str = "Left: what a mechanism is worth when it is added to those above it. Then: what its absence costs \
    where all the others are there. Where the two differ, mechanisms need or replace one another: one that is worth much on \
    the way up and little from the top has been made redundant by a later one.";
const WATERFALL: &str = "From the top: each bar is what one more mechanism takes off the time, on a logarithmic axis, so that \
    equal bars are equal factors; kvm and native are the processor itself. Below: what the time becomes where a full set \
    lacks one mechanism. Markers are engines as they are.";
const STARTUP: &str = "From the start of the engine's process to the guest's first instruction in ring 3: the engine's own \
    initialisation, loading the guest, and the guest kernel's boot. It is no part of the times above.";

#[cfg(test)]
mod tests;
