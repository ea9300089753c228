//! The gate itself: counts, a first look at the times, and a second at the suspects.

use serde_json::Value;

use super::baseline::{Baseline, FORMAT, Timed};
use super::bench::{Bench, Interrupted, Rounds};
use super::exact::{Deviation, ExactCell, Tolerance, deviations};
use super::judge::{Judge, Judged, Sides, Standing, Subject, slowdown};
use super::plan::{Plan, label};
use super::report::{Failure, Measured, Report, Verdict};
use super::rules::{BUSY, LOOKS, Rules};
use super::samples::Samples;
use crate::results::{ImageMeta, Tool};
use crate::stats::median;

/// What the head is held against.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// A baseline.
    Baseline(&'a Baseline),
    /// The bench's other build.
    Build,
}

/// What becomes of the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Times {
    /// They are judged.
    Judge,
    /// They are told, and fail nothing.
    Tell,
    /// They are not measured.
    Off,
}

/// What surrounds a gate.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// What the head is held against, for people.
    pub against: String,
    /// The program that is judged.
    pub tool: Tool,
    /// The machine, as `evlab doctor --json` describes it.
    pub host: Value,
    /// Thresholds and numbers of runs.
    pub rules: Rules,
    /// What becomes of the times.
    pub times: Times,
    /// How far counters may be off.
    pub tolerances: &'a [Tolerance],
    /// Seed of the intervals.
    pub seed: u64,
}

/// Judges the bench's head.
///
/// # Errors
/// The user stopped it.
pub fn conduct(bench: &mut Bench<'_>, against: Against<'_>, setting: &Setting<'_>) -> Result<Report, Interrupted> {
    if let Against::Baseline(baseline) = against {
        bench.expect(&baseline.exact);
    }
    let counted = bench.count()?;
    // The head is the last build of a bench.
    let head = counted.last().map_or(&[][..], Vec::as_slice);
    let base: Vec<ExactCell> = match against {
        Against::Baseline(baseline) => {
            let planned = |cell: &&ExactCell| bench.plan().cells.contains(&cell.cell);
            baseline.exact.iter().filter(planned).cloned().collect()
        }
        Against::Build => counted.first().cloned().unwrap_or_default(),
    };
    let found = deviations(&base, head, setting.tolerances);
    let judge = Judge {
        plan: bench.plan(),
        rules: setting.rules,
        by_reference: matches!(against, Against::Baseline(_)),
        seed: setting.seed,
    };
    let mut timed = match setting.times {
        Times::Off => Timing::default(),
        Times::Judge | Times::Tell => time(bench, against, &judge, setting.times == Times::Judge)?,
    };
    if let Against::Baseline(baseline) = against {
        timed.doubt(baseline.pressure, bench.pressure());
    }
    Ok(report(bench, setting, &judge, (base.len(), found), timed))
}

/// What the times say.
#[derive(Default)]
struct Timing {
    /// The comparisons.
    judged: Vec<Judged>,
    /// The times of the head.
    measured: Vec<Measured>,
    /// Workloads that are left out of means, and how many times as long the reference takes for them.
    unsteady: Vec<(String, f64)>,
    /// Why nothing is surely slower.
    doubt: Option<String>,
    /// Whether the budget was spent before all suspects were judged.
    is_cut: bool,
}

impl Timing {
    /// Lets no time be slower if the host was too busy for such a verdict: for the baseline, or now.
    fn doubt(&mut self, then: Option<f64>, now: Option<f64>) {
        let is_busy = |pressure: &f64| *pressure > BUSY;
        let (pressure, when) = match (now.filter(is_busy), then.filter(is_busy)) {
            (Some(now), _) => (now, "this host is busy: "),
            (None, Some(then)) => (then, "the host was busy when the baseline was written: "),
            (None, None) => return,
        };
        for judged in self.judged.iter_mut().filter(|judged| judged.standing == Standing::Slower) {
            judged.standing = Standing::Inconclusive;
        }
        self.doubt = Some(format!(
            "{when}somebody waited for a processor during {:.0}% of the time, so that no time is surely slower; measure while \
             nothing else runs",
            pressure * 100.0
        ));
    }
}

/// A look at the times, and if they are judged one more at the suspects.
fn time(
    bench: &mut Bench<'_>,
    against: Against<'_>,
    judge: &Judge<'_>,
    is_judged: bool,
) -> Result<Timing, Interrupted> {
    let plan = bench.plan();
    let base = match against {
        Against::Baseline(baseline) => Some(baseline.samples(plan)),
        Against::Build => None,
    };
    let base = base.as_ref();
    let head = bench.time(&plan.timed(), judge.rules.runs)?;
    let mut judged: Vec<(Subject, Judged)> = judge
        .subjects()
        .into_iter()
        .filter_map(|subject| Some((subject, judge.screen(subject, Sides { base, head: &head })?)))
        .collect();
    let measured = measured(plan, &head, judge);
    let mut unsteady = judge.unsteady(Sides { base, head: &head });
    let is_open = |judged: &Judged| is_judged && matches!(judged.standing, Standing::Suspect | Standing::Inconclusive);
    let suspects = judged.iter().filter(|(_, judged)| is_open(judged)).count();
    let mut second = Rounds { samples: Samples::new(plan.cells.len()), made: 0 };
    let mut is_cut = false;
    for look in 1..=LOOKS as u32 {
        let open = judged.iter().filter(|(_, judged)| is_open(judged));
        let mut cells: Vec<usize> = open.flat_map(|&(subject, _)| judge.members_of(subject)).collect();
        cells.sort_unstable();
        cells.dedup();
        if cells.is_empty() {
            break;
        }
        let more = bench.time_until(&cells, judge.rules.rerun, judge.rules.budget())?;
        second.add(&more);
        is_cut = second.made < look * judge.rules.rerun;
        // Fewer rounds than those that raised the suspicion cannot end it.
        if second.made < judge.rules.runs.min(judge.rules.rerun) {
            for (_, judged) in judged.iter_mut().filter(|(_, judged)| is_open(judged)) {
                judged.standing = Standing::Inconclusive;
            }
            break;
        }
        let sides = Sides { base, head: &second.samples };
        for (subject, judged) in judged.iter_mut().filter(|(_, judged)| is_open(judged)) {
            *judged = judge.confirm(judged, *subject, sides, suspects);
        }
        for left_out in judge.unsteady(sides) {
            if unsteady.iter().all(|(name, _)| *name != left_out.0) {
                unsteady.push(left_out);
            }
        }
        if is_cut {
            break;
        }
    }
    let judged: Vec<Judged> = judged.into_iter().map(|(_, judged)| judged).collect();
    is_cut &= judged.iter().any(|judged| judged.standing == Standing::Inconclusive);
    Ok(Timing { judged, measured, unsteady, doubt: None, is_cut })
}

fn measured(plan: &Plan, head: &Samples, judge: &Judge<'_>) -> Vec<Measured> {
    let cells = plan.cells.iter().enumerate().filter_map(|(index, cell)| {
        let slowdown = judge.by_reference.then(|| slowdown(index, head, judge.seed)).flatten();
        let interval = slowdown.and_then(|estimate| estimate.interval);
        Some(Measured {
            engine: cell.engine,
            workload: label(cell),
            n: head.get(index).len(),
            median_ns: median(&head.times(index))?,
            slowdown: slowdown.map(|estimate| estimate.value),
            slowdown_low: interval.map(|i| i.low),
            slowdown_high: interval.map(|i| i.high),
        })
    });
    cells.collect()
}

fn report(
    bench: &Bench<'_>,
    setting: &Setting<'_>,
    judge: &Judge<'_>,
    (counted, deviations): (usize, Vec<Deviation>),
    Timing { judged: times, measured, unsteady, doubt, is_cut }: Timing,
) -> Report {
    let failures = bench.problems().iter().map(|(build, problem)| Failure {
        build: build.name().to_owned(),
        engine: problem.engine,
        workload: problem.workload.clone(),
        message: problem.message.clone(),
    });
    let mut notes = Vec::new();
    if judge.by_reference && setting.times != Times::Off {
        let timed = judge.plan.timed();
        let without: Vec<&str> = judge
            .plan
            .workloads()
            .into_iter()
            .filter(|name| {
                let mut cells = timed.iter().filter(|&&cell| judge.plan.cells[cell].workload == *name).peekable();
                cells.peek().is_some() && cells.all(|&cell| judge.plan.reference_of(cell).is_none())
            })
            .collect();
        if !without.is_empty() {
            notes.push(format!(
                "{} does not run {}: their counts were compared, not their times",
                judge.plan.reference,
                without.join(", ")
            ));
        }
    }
    notes.extend(doubt);
    if let Some(budget_s) = setting.rules.budget_s.filter(|_| is_cut) {
        notes.push(format!(
            "the budget of {budget_s} s was spent before each time that looked slower was surely so or cleared; give more \
             with --budget"
        ));
    }
    if !unsteady.is_empty() {
        let changes: Vec<String> =
            unsteady.iter().map(|(name, change)| format!("{name} ({change:.2} times as long)")).collect();
        notes.push(format!(
            "among its programs, {} itself is not what it was in the baseline with {}: left out of the means",
            judge.plan.reference,
            changes.join(", ")
        ));
    }
    if deviations.iter().any(|deviation| deviation.what == "image_sha256") {
        notes.push(
            "guest images differ, so that other counts differ too: the guests or their compiler changed".to_owned(),
        );
    }
    let report = Report {
        verdict: Verdict::Pass,
        against: setting.against.clone(),
        tool: setting.tool.clone(),
        host: setting.host.clone(),
        reference: (judge.by_reference && setting.times != Times::Off).then_some(judge.plan.reference),
        rules: setting.rules,
        seed: setting.seed,
        counted,
        deviations,
        times,
        measured,
        failures: failures.collect(),
        notes,
        runs: bench.runs(),
        pressure: bench.pressure(),
        seconds: bench.elapsed().as_secs_f64(),
    };
    report.judge()
}

/// Measures a baseline: the bench's head, twice as often as a look of a second measurement would, since all gates rest on it.
///
/// # Errors
/// The user stopped it.
pub fn baseline_of(
    bench: &mut Bench<'_>,
    setting: &Setting<'_>,
    images: Vec<ImageMeta>,
) -> Result<Baseline, Interrupted> {
    let exact = bench.count()?.into_iter().next().unwrap_or_default();
    let plan = bench.plan();
    let times = if setting.times != Times::Off {
        let all = plan.timed();
        let samples = bench.time(&all, 2 * setting.rules.rerun)?;
        let timed = |&cell: &usize| Timed { cell: plan.cells[cell].clone(), runs: samples.get(cell).to_vec() };
        all.iter().map(timed).filter(|timed| !timed.runs.is_empty()).collect()
    } else {
        Vec::new()
    };
    Ok(Baseline {
        evlab_baseline: FORMAT,
        tool: setting.tool.clone(),
        created: jiff::Timestamp::now().to_string(),
        host: setting.host.clone(),
        plan: plan.clone(),
        images,
        exact,
        times,
        pressure: bench.pressure(),
    })
}
