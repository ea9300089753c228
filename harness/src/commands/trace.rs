//! `evlab trace`: what a guest's processor does, step by step.

use std::io::Write;

use evlab::cli::TraceArgs;
use evlab::engines::{EngineError, StopFlag, WATCHED};
use evlab::trace::trace;
use workloads::Profile;

use super::Verdict;
use super::run::{engine_named, job};

/// Writes the trace. A reader that leaves early is an error of that kind, which ends the program quietly.
pub(crate) fn execute(args: &TraceArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engine = engine_named(&args.engine)?;
    if !WATCHED.contains(&engine) {
        return Err(EngineError::Closed { engine }.into());
    }
    let options = args.options();
    options.check(engine, !args.events.is_empty())?;
    let mut job = job(&args.workload, &args.args, engine, &args.machine, Profile::Quick)?;
    job.request.prefault = false;
    let traced = trace(&job, stop, &options, out)?;
    if stop.is_stopped() {
        return Ok(Verdict::Interrupted);
    }
    Ok(if traced.is_bad() { Verdict::Bad } else { Verdict::Well })
}
