//! `evlab report`: renders a results folder again, whichever command wrote it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use evlab::cli::ReportArgs;
use evlab::{crowd, isolation, micro, report, results, warmup};

use super::Verdict;

/// Writes the tables, the plots and `report.html`, then prints the table and where they are.
pub(crate) fn execute(args: &ReportArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let dir = &args.dir;
    let files = if crowd::is_crowd(dir) {
        alone(args)?;
        writeln!(out, "{}\n", crowd::crowd_table(&crowd::read(dir)?).trim_end())?;
        crowd::render(dir)?
    } else if micro::is_micro(dir) {
        alone(args)?;
        let measured = micro::read(dir)?;
        super::micro::print(&measured.benchmarks(), &measured.engines(), &measured.cells, out)?;
        writeln!(out)?;
        report::render_micro(dir)?
    } else if isolation::is_isolation(dir) {
        alone(args)?;
        super::isolation::print(&isolation::read(dir)?.findings, out)?;
        writeln!(out)?;
        report::render_isolation(dir)?
    } else if warmup::is_warmup(dir) {
        alone(args)?;
        super::warmup::print(&warmup::read(dir)?.cells, out)?;
        report::render_warmup(dir)?
    } else {
        return experiment(args, out);
    };
    list(&files, out)?;
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

fn list(files: &[PathBuf], out: &mut dyn Write) -> std::io::Result<()> {
    files.iter().try_for_each(|file| writeln!(out, "written: {}", file.display()))
}

fn experiment(args: &ReportArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let experiment = results::read(&args.dir)?;
    let rendered = report::render(&args.dir, &args.with)?;
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
