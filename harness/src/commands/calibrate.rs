//! `evlab calibrate`: what this host can tell.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use evlab::calibration::{CALIBRATION_JSON, Calibration};
use evlab::cli::{CalibrateArgs, WorkArgs};
use evlab::engines::StopFlag;
use evlab::gate::{Bench, BuildName, Rules, power, rounds_for};
use evlab::host;

use super::gate::{build, plan_of, progress};
use super::list::{plain_table, trimmed};
use super::{Verdict, experiment};

/// Measures rounds of this build, and says what gates of them can tell.
pub(crate) fn execute(args: &CalibrateArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from("results").join(CALIBRATION_JSON));
    ready(&path)?;
    let host = serde_json::to_value(host::describe()).context("cannot describe this host")?;
    let work = WorkArgs::default();
    let mut plan = plan_of((&args.engines, &args.workloads), &work, true, !args.json, out)?;
    plan.cells.retain(|cell| !plan.counted_only.contains(&cell.engine.id));
    let rules = Rules::default();
    let seed = experiment::seed(args.seed);
    let cells = plan.timed();
    let head = build(BuildName::Head, &plan, None, seed);
    let mut bench = Bench::new(&plan, None, head, seed, progress(args.json), stop);
    let start = Instant::now();
    let Ok(samples) = bench.time(&cells, args.rounds) else {
        writeln!(out, "stopped before there was an answer")?;
        return Ok(Verdict::Interrupted);
    };
    let round_s = start.elapsed().as_secs_f64() / f64::from(args.rounds);
    if let Some((_, problem)) = bench.problems().first() {
        let count = bench.problems().len();
        bail!("{count} runs failed, the first was {} on {}: {}", problem.workload, problem.engine, problem.message);
    }
    let power = power(&plan, &samples, rules, seed);
    if power.subjects.is_empty() {
        bail!("nothing can be compared: choose an engine beside {}, and workloads that it runs too", plan.reference);
    }
    let runs = bench.runs();
    let calibration = Calibration::new(experiment::tool(), host, plan.clone(), rules, (args.rounds, round_s), power);
    calibration.write(&path)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &calibration)?;
        writeln!(out)?;
    } else {
        print(&calibration, args.precision / 100.0, out)?;
        writeln!(
            out,
            "{runs} runs in {:.0} s, seed {seed}; written to {}",
            start.elapsed().as_secs_f64(),
            path.display()
        )?;
    }
    Ok(Verdict::Well)
}

/// Makes the folder, and sees to it that the file can be written before anything is measured.
fn ready(path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}; choose another file with --out", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    let beside = path.with_extension("probe");
    std::fs::write(&beside, b"").with_context(cannot)?;
    std::fs::remove_file(&beside).with_context(cannot)
}

fn print(calibration: &Calibration, precision: f64, out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = plain_table();
    let percent = precision * 100.0;
    let rounds = format!("ROUNDS TO {percent}%");
    table.set_header(["ENGINE", "WORKLOAD", "NOTICED BY 80%", "BY 95%", "± NOW", &rounds]);
    for subject in &calibration.power.subjects {
        let effect = |factor: f64| format!("+{:.1}%", (factor - 1.0) * 100.0);
        let width = subject.half_width;
        table.add_row([
            subject.engine.name(),
            subject.workload.clone(),
            effect(subject.power_80),
            effect(subject.power_95),
            width.map_or_else(String::new, |width| format!("{:.1}%", width * 100.0)),
            width.map_or_else(String::new, |width| rounds_for(precision, width, calibration.rounds).to_string()),
        ]);
    }
    writeln!(out, "{}\n", trimmed(&table))?;
    writeln!(out, "{}", calibration.sentence())?;
    writeln!(out, "{}; a round takes {:.1} s", calibration.patience(precision), calibration.round_s)
}
