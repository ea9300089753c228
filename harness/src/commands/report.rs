//! `evlab report`: renders a results folder again, whichever command wrote it.

use std::io::Write;

use anyhow::bail;
use evlab::cli::ReportArgs;
use evlab::crowd::PointRow;
use evlab::{crowd, isolation, micro, report, results, warmup};
use serde::Serialize;

use super::{Verdict, experiment};

/// Writes the tables, the plots and `report.html`, then prints the table and where they are.
pub(crate) fn execute(args: &ReportArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let dir = &args.dir;
    let files = if crowd::is_crowd(dir) {
        alone(args)?;
        let found = crowd::read(dir)?;
        let points = crowd::summarize(&found.meta.plan, &found.rows);
        let points: Vec<PointRow> = points.iter().map(PointRow::from).collect();
        tell(args, &points, out, |out| writeln!(out, "{}\n", crowd::crowd_table(&found).trim_end()))?;
        crowd::render(dir)?
    } else if micro::is_micro(dir) {
        alone(args)?;
        let measured = micro::read(dir)?;
        tell(args, &measured.cells, out, |out| {
            super::micro::print(&measured.benchmarks(), &measured.engines(), &measured.cells, out)?;
            writeln!(out)
        })?;
        report::render_micro(dir)?
    } else if isolation::is_isolation(dir) {
        alone(args)?;
        let tested = isolation::read(dir)?;
        tell(args, &tested.findings, out, |out| {
            super::isolation::print(&tested.findings, out)?;
            writeln!(out)
        })?;
        report::render_isolation(dir)?
    } else if warmup::is_warmup(dir) {
        alone(args)?;
        let found = warmup::read(dir)?;
        tell(args, &found.cells, out, |out| super::warmup::print(&found.cells, out))?;
        report::render_warmup(dir)?
    } else {
        return experiment(args, out);
    };
    if !args.json {
        files.iter().try_for_each(|file| writeln!(out, "written: {}", file.display()))?;
    }
    Ok(Verdict::Well)
}

/// Only an experiment has room for what others measured.
fn alone(args: &ReportArgs) -> anyhow::Result<()> {
    if !args.with.is_empty() {
        bail!(
            "--with is for the results of evlab studio and evlab ablate, and {} is another's; leave it out",
            args.dir.display()
        );
    }
    Ok(())
}

/// The values as JSON, or as they are printed.
fn tell<T: Serialize>(
    args: &ReportArgs,
    values: &[T],
    mut out: &mut dyn Write,
    print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    if !args.json {
        return Ok(print(out)?);
    }
    serde_json::to_writer_pretty(&mut out, values)?;
    Ok(writeln!(out)?)
}

fn experiment(args: &ReportArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let experiment = results::read(&args.dir)?;
    let rendered = report::render(&args.dir, &args.with)?;
    if args.json {
        experiment::print_json(&experiment, &args.dir, Some(&rendered.html), out)?;
        return Ok(Verdict::Well);
    }
    writeln!(out, "{}", report::terminal_table(&experiment).trim_end())?;
    writeln!(out)?;
    writeln!(out, "summary: {}", rendered.summary.display())?;
    if let Some(ablation) = &rendered.ablation {
        writeln!(out, "steps:   {}", ablation.display())?;
    }
    for plot in &rendered.plots {
        writeln!(out, "plot:    {}", plot.display())?;
    }
    for beside in rendered.micro.iter().chain(&rendered.isolation) {
        writeln!(out, "with:    {}", beside.display())?;
    }
    writeln!(out, "report:  {}", rendered.html.display())?;
    Ok(Verdict::Well)
}
