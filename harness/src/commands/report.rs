//! `evlab report`: renders a results folder again.

use std::io::Write;

use evlab::cli::ReportArgs;
use evlab::{crowd, report, results};

use super::{Verdict, experiment};

/// Writes `summary.csv`, the plots and `report.html`, then prints the table and where they are.
pub(crate) fn execute(args: &ReportArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    if crowd::is_crowd(&args.dir) {
        return render_crowd(args, out);
    }
    let experiment = results::read(&args.dir)?;
    let rendered = report::render(&args.dir)?;
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
    writeln!(out, "report:  {}", rendered.html.display())?;
    Ok(Verdict::Well)
}

/// The same for the folder of a crowd, which has tables and plots of its own.
fn render_crowd(args: &ReportArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let found = crowd::read(&args.dir)?;
    let files = crowd::render(&args.dir)?;
    writeln!(out, "{}\n", crowd::crowd_table(&found).trim_end())?;
    for file in files {
        writeln!(out, "written: {}", file.display())?;
    }
    Ok(Verdict::Well)
}
