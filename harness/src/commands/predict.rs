//! `evlab predict`: how well the cost model foretells what it has not seen.

use std::io::Write;

use anyhow::bail;
use evlab::cli::PredictArgs;
use evlab::engines::StopFlag;
use evlab::explain::{Data, Kind, Prediction, held_out};
use evlab::model::EngineId;
use evlab::report::units;
use evlab::stats::median;
use workloads::Profile;

use super::list::{plain_table, trimmed};
use super::model;
use super::run::program;
use super::{Verdict, profile};

/// Predicts and compares.
pub(crate) fn execute(args: &PredictArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    if let Some(name) = &args.workload {
        // A wrong name is told before minutes of measuring.
        program(name, &args.args, profile::RAM_MIB, 1.0, Profile::Full)?;
    }
    let mut errors = std::io::stderr();
    let notes: &mut dyn Write = if args.json { &mut errors } else { out };
    let Some(found) = model::find(&args.costs, &args.engines, &args.sandbox, stop, notes)? else {
        return Ok(Verdict::Interrupted);
    };
    let data = &found.costs.data;
    let within = args.within / 100.0;
    let mut problems = Vec::new();
    let predictions = match &args.workload {
        Some(name) if !args.args.is_empty() || !knows(data, name) => {
            let sampled =
                model::sample(name, &args.args, &found.engines, args.runs, args.costs.seed, &args.sandbox, stop)?;
            if stop.is_stopped() {
                return Ok(Verdict::Interrupted);
            }
            problems = sampled.problems;
            let mut data = data.clone();
            // What is known of its other sizes must not help.
            data.rows.retain(|row| row.kind != Kind::Workload || row.name != *name);
            data.profiles.retain(|profile| profile.kind != Kind::Workload || profile.name != *name);
            data.profiles.push(sampled.profile);
            data.rows.extend(sampled.rows);
            held_out(&data, &found.engines, Some(name))
        }
        only => held_out(data, &found.engines, only.as_deref()),
    };
    if predictions.is_empty() {
        match problems.first() {
            Some(problem) => bail!("{problem}"),
            None => bail!("there is nothing to predict on the chosen engines; evlab list says what runs on which"),
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &predictions)?;
        writeln!(out)?;
    } else {
        print(&predictions, within, out)?;
        summary(&predictions, &found.engines, within, out)?;
    }
    for problem in &problems {
        writeln!(std::io::stderr(), "{problem}")?;
    }
    let bad = !problems.is_empty() || predictions.iter().any(|prediction| !prediction.is_within(within));
    Ok(if bad { Verdict::Bad } else { Verdict::Well })
}

/// Whether the data holds a workload of that name.
fn knows(data: &Data, name: &str) -> bool {
    data.rows.iter().any(|row| row.kind == Kind::Workload && row.name == name)
}

fn print(predictions: &[Prediction], within: f64, out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = plain_table();
    let limit = format!("WITHIN {}", units::percentage(within));
    table.set_header(["ENGINE", "WORKLOAD", "N", "MEASURED", "PREDICTED", "RATIO", &limit, "EXPLAINED"]);
    for p in predictions {
        let words: Vec<&str> = std::iter::once(p.workload.as_str()).chain(p.args.iter().map(String::as_str)).collect();
        table.add_row([
            p.engine.name().to_owned(),
            words.join(" "),
            p.n.to_string(),
            units::time(p.measured_ns),
            units::time(p.predicted_ns),
            units::number(p.ratio),
            if p.is_within(within) { "yes" } else { "NO" }.to_owned(),
            units::percent(p.explained),
        ]);
    }
    writeln!(out, "{}\n", trimmed(&table))
}

fn summary(predictions: &[Prediction], engines: &[EngineId], within: f64, out: &mut dyn Write) -> std::io::Result<()> {
    for &engine in engines {
        let of: Vec<&Prediction> = predictions.iter().filter(|p| p.engine == engine).collect();
        let good = of.iter().filter(|p| p.is_within(within)).count();
        let errors: Vec<f64> = of.iter().map(|p| (p.ratio - 1.0).abs()).collect();
        if let Some(middle) = median(&errors) {
            let off = units::percent(middle);
            writeln!(
                out,
                "{engine}: {good} of {} within {}, half of them within {off}",
                of.len(),
                units::percentage(within)
            )?;
        }
    }
    Ok(())
}
