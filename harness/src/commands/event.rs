//! `evlab event`: one run of a micro-benchmark in this process, for `evlab micro`.

use std::io::Write;

use anyhow::{Context, bail};
use evlab::cli::EventArgs;
use evlab::engines::{self, StopFlag};
use evlab::micro::{Ring, benchmarks};
use evlab::model::{Confine, Status};
use evlab::studio::PlanError;

use super::Verdict;
use super::run::engine_named;

/// Runs the event and prints the record of the run as JSON.
pub(crate) fn execute(args: &EventArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engine = engine_named(&args.engine)?;
    let ring = Ring::try_from(args.ring).map_err(anyhow::Error::msg)?;
    let all = benchmarks();
    if !all.iter().any(|benchmark| benchmark.event.name() == args.name) {
        return Err(PlanError::unknown("event", &args.name, all.iter().map(|b| b.event.name())).into());
    }
    let Some(benchmark) = all.iter().find(|b| b.event.name() == args.name && b.ring == ring) else {
        bail!("{} is not measured in ring {}", args.name, ring.number());
    };
    let confine = Confine { sandbox: args.sandbox.choice(), ..Confine::default() };
    let job = benchmark.job(engine, args.count, confine);
    let record = engines::engine(engine).run(&job, stop).with_context(|| format!("cannot run {benchmark}"))?;
    serde_json::to_writer_pretty(&mut *out, &record)?;
    writeln!(out)?;
    Ok(if record.status == Status::Ok { Verdict::Well } else { Verdict::Bad })
}
