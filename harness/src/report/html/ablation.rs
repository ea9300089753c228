//! What each mechanism costs and saves, in words and numbers.

use super::view::{Cell, Explanation, Table};
use crate::ablation::{Analysis, Effect, Kind, MECHANISMS, Mechanism, Row, Step, ns_per_instruction};
use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::data::Data;
use crate::report::summary::Summary;
use crate::report::units;
use crate::stats::{Estimate, geometric_mean, median};

/// The mechanisms by what they are about, with what is said of them.
const TOPICS: [(&str, &str, &[&str]); 6] = [
    (
        "The software MMU",
        "\u{201c}Every memory access requires a software translation: very slow.\u{201d} It does, and it is:",
        &["mmu", "window"],
    ),
    (
        "Decoding",
        "x86 instructions are dear to decode, and a loop executes the same ones again and again.",
        &["decode"],
    ),
    ("Flags", "Nearly every arithmetic instruction writes six flags, and few of them are ever read.", &["flags"]),
    (
        "Dispatch",
        "Between two instructions, and between two blocks, an emulator must find out what comes next.",
        &["link", "fuse", "chain", "inline-cache"],
    ),
    ("String instructions", "One instruction that copies a page is a thousand memory accesses.", &["bulk"]),
    (
        "Interpretation",
        "What is left of an interpreter is the interpreter: a jump to a handler for each instruction.",
        &["translate"],
    ),
];

/// The ablation in a sentence, for the verdict.
pub(super) fn verdict(analysis: &Analysis) -> Option<String> {
    let mut added: Vec<(&Effect, &Mechanism)> = analysis
        .effects
        .iter()
        .filter(|e| analysis.steps[e.step].kind == Kind::Added)
        .filter_map(|e| Some((e, mechanism(&analysis.steps[e.step])?)))
        .collect();
    added.sort_by(|a, b| b.0.mean.value.total_cmp(&a.0.mean.value));
    let largest: Vec<String> = added
        .iter()
        .filter(|(effect, _)| effect.mean.interval.map_or(effect.mean.value, |i| i.low) > 1.0)
        .take(3)
        .map(|(effect, mechanism)| format!("{} ({})", mechanism.title, units::ratio(effect.mean.value)))
        .collect();
    if largest.is_empty() {
        return None;
    }
    Some(format!(
        "What makes the emulator faster most, in geometric mean over the programs: {}.",
        super::verdict::list(&largest)
    ))
}

/// One explanation a topic.
pub(super) fn topics(data: &Data<'_>, analysis: &Analysis) -> Vec<Explanation> {
    let words = Words { analysis, summary: &data.summary, counters: &data.counters };
    let mut topics: Vec<Explanation> = TOPICS
        .iter()
        .map(|&(title, what, keys)| Explanation {
            engine: title.to_owned(),
            what,
            points: keys.iter().filter_map(|key| Mechanism::find(key)).flat_map(|m| words.points(m)).collect(),
        })
        .collect();
    topics.push(Explanation {
        engine: "What no emulator gets rid of".to_owned(),
        what: "After the last mechanism comes the processor, which does in hardware what all of these do in software.",
        points: words.to_the_processor(),
    });
    topics.retain(|topic| !topic.points.is_empty());
    topics
}

fn mechanism(step: &Step) -> Option<&'static Mechanism> {
    Mechanism::find(step.mechanism.as_deref()?)
}

struct Words<'a> {
    analysis: &'a Analysis,
    summary: &'a Summary,
    counters: &'a Counters,
}

impl Words<'_> {
    fn points(&self, mechanism: &Mechanism) -> Vec<String> {
        [self.added(mechanism), self.removed(mechanism), self.per_access(mechanism)].into_iter().flatten().collect()
    }

    fn added(&self, mechanism: &Mechanism) -> Option<String> {
        let (index, step) = self.analysis.added(mechanism.key)?;
        let effect = self.analysis.effect(index)?;
        let cost = self
            .instruction(step.against?)
            .zip(self.instruction(step.engine))
            .map(|(before, after)| {
                format!(" A guest instruction takes {} before and {} after.", units::time(before), units::time(after))
            })
            .unwrap_or_default();
        let title = mechanism.title;
        Some(format!(
            "Adding {title} ({}) makes programs {}{}.{cost}",
            mechanism.what,
            change(effect.mean, ["faster", "slower"]),
            spread(effect)
        ))
    }

    fn removed(&self, mechanism: &Mechanism) -> Option<String> {
        let parts: Vec<String> = [EngineId::EmuInterp, EngineId::EmuDbt]
            .into_iter()
            .filter_map(|full| {
                let effect = self.analysis.effect(self.analysis.removed(full, mechanism.key)?.0)?;
                Some(format!("{full} is {}{}", change(effect.mean, ["slower", "faster"]), spread(effect)))
            })
            .collect();
        if parts.is_empty() {
            return None;
        }
        Some(format!("Without {}, and with all the rest, {}.", mechanism.title, parts.join("; ")))
    }

    /// What a walk costs, where the mechanism saves walks.
    fn per_access(&self, mechanism: &Mechanism) -> Option<String> {
        if mechanism.key != "mmu" {
            return None;
        }
        let (_, step) = self.analysis.added(mechanism.key)?;
        let (before, after) = (step.against?, step.engine);
        let walks = |setup: Setup, workload: &str| self.counters.get(setup, workload, "emu", "page.walk");
        let saved: Vec<(f64, f64)> = self
            .programs()
            .filter_map(|w| {
                let time = self.time(before, w)? - self.time(after, w)?;
                let fewer = walks(before, w)? - walks(after, w)?;
                let instructions = self.counters.instructions(before, w)?;
                (fewer > 0.0 && instructions > 0.0 && time > 0.0)
                    .then_some((time / fewer, walks(before, w)? / instructions))
            })
            .collect();
        let each = median(&saved.iter().map(|s| s.0).collect::<Vec<_>>())?;
        let rate = median(&saved.iter().map(|s| s.1).collect::<Vec<_>>())?;
        let hits: Vec<f64> = self
            .programs()
            .filter_map(|w| {
                let get = |name| self.counters.get(after, w, "emu", name);
                let (hit, miss) = (get("tlb.hit")?, get("tlb.miss")?);
                (hit + miss > 0.0).then(|| hit / (hit + miss))
            })
            .collect();
        let answered = median(&hits)
            .map(|share| {
                format!(" The TLB answers {} of the accesses, so that the walks all but vanish.", units::percent(share))
            })
            .unwrap_or_default();
        Some(format!(
            "Without it an instruction walks the page tables {} times on average, for its data alone, since its bytes are \
             decoded already; each walk costs {} (medians over the programs).{answered}",
            units::number(rate),
            units::time(each)
        ))
    }

    fn to_the_processor(&self) -> Vec<String> {
        let steps = self.analysis.ladder().filter(|(_, step)| step.kind == Kind::Engine);
        steps
            .filter_map(|(index, step)| {
                let effect = self.analysis.effect(index)?;
                let from = step.against?;
                Some(format!(
                    "From {from} to {}: programs are {}{}.",
                    step.engine,
                    change(effect.mean, ["faster", "slower"]),
                    spread(effect)
                ))
            })
            .collect()
    }

    fn programs(&self) -> impl Iterator<Item = &str> {
        self.summary.workloads.iter().filter(|w| w.group.in_mean(false)).map(|w| w.label.as_str())
    }

    fn time(&self, setup: Setup, workload: &str) -> Option<f64> {
        Some(self.summary.cell(setup, workload)?.median?.value)
    }

    /// Host time per guest instruction, geometric mean over the programs.
    fn instruction(&self, setup: Setup) -> Option<f64> {
        let costs: Vec<f64> =
            self.programs().filter_map(|w| ns_per_instruction(self.summary, self.counters, setup, w)).collect();
        geometric_mean(&costs)
    }
}

/// `3.20× (3.10–3.30) faster`, turned round below 1; says so where the interval holds 1.
fn change(factor: Estimate, [above, below]: [&str; 2]) -> String {
    if factor.interval.is_some_and(|i| i.low <= 1.0 && i.high >= 1.0) {
        return format!("neither {above} nor {below} beyond the noise: {}", units::ratio_with_interval(&factor));
    }
    if factor.value >= 1.0 {
        return format!("{} {above}", units::ratio_with_interval(&factor));
    }
    let interval = factor.interval.map(|i| crate::stats::Interval { low: 1.0 / i.high, high: 1.0 / i.low });
    format!("{} {below}", units::ratio_with_interval(&Estimate { value: 1.0 / factor.value, interval }))
}

/// Which programs gain least and most.
fn spread(effect: &Effect) -> String {
    if effect.workloads < 2 {
        return String::new();
    }
    let end = |(name, value): &(String, f64)| format!("{} in {name}", units::ratio(*value));
    format!(", from {} to {}", end(&effect.least), end(&effect.most))
}

/// One row per mechanism: what it is worth added, and taken out of each full set.
pub(super) fn effects(analysis: &Analysis) -> Table {
    let mut table = Table::new(
        "What each mechanism is worth",
        ["mechanism", "key", "added to those above", "taken out of emu-interp", "taken out of emu-dbt", "what it does"],
    );
    for mechanism in &MECHANISMS {
        let cell = |step: Option<(usize, &Step)>| {
            let effect = step.and_then(|(index, _)| analysis.effect(index));
            factor(effect.map(|e| e.mean)).with_note(effect.map(range).unwrap_or_default())
        };
        table.rows.push(vec![
            Cell::text(mechanism.title),
            Cell::code(mechanism.key),
            cell(analysis.added(mechanism.key)),
            cell(analysis.removed(EngineId::EmuInterp, mechanism.key)),
            cell(analysis.removed(EngineId::EmuDbt, mechanism.key)),
            Cell { class: "wide", ..Cell::text(mechanism.what) },
        ]);
    }
    table
}

/// `1.2 sieve – 3.4 fib`.
fn range(effect: &Effect) -> String {
    if effect.workloads < 2 {
        return String::new();
    }
    let end = |(name, value): &(String, f64)| format!("{} {name}", units::number(*value));
    format!("{} – {}", end(&effect.least), end(&effect.most))
}

fn factor(estimate: Option<Estimate>) -> Cell {
    let interval = estimate.and_then(|e| e.interval);
    Cell::number(estimate.map(|e| e.value), units::ratio)
        .with_note(interval.map_or(String::new(), |i| format!("{}–{}", units::number(i.low), units::number(i.high))))
}

/// Every step of one workload.
pub(super) fn steps(analysis: &Analysis, workload: &str) -> Table {
    let mut table = Table::new(&format!("Steps of {workload}"), ["step", "engine", "n", "time", "slowdown", "worth"]);
    let rows = analysis.rows.iter().filter(|r| r.workload == workload);
    table.rows = rows.map(|row| step(row, &analysis.steps[row.step])).collect();
    table
}

fn step(row: &Row, step: &Step) -> Vec<Cell> {
    let interval = row.median.and_then(|m| m.interval).map(units::time_interval).unwrap_or_default();
    vec![
        Cell::text(&step.name),
        Cell::code(step.engine.name()),
        Cell::number(Some(row.n as f64), units::short),
        Cell::number(row.median.map(|m| m.value), units::time).with_note(interval),
        factor(row.slowdown),
        factor(row.factor),
    ]
}
