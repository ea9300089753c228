//! `evlab attack`: one attack of the isolation suite in this process, for the suite.

use std::io::Write;

use anyhow::Context;
use evlab::cli::AttackArgs;
use evlab::engines::{self, StopFlag};
use evlab::isolation::attacks;
use evlab::model::Status;
use evlab::studio::PlanError;

use super::Verdict;
use super::run::engine_named;

/// Runs the attack and prints the record of the run as JSON.
pub(crate) fn execute(args: &AttackArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engine = engine_named(&args.engine)?;
    let attack = attacks()
        .iter()
        .find(|attack| attack.name == args.name)
        .ok_or_else(|| PlanError::unknown("attack", &args.name, attacks().iter().map(|attack| attack.name)))?;
    let mut job = attack.job(engine);
    job.request.confine.sandbox = args.sandbox.choice();
    #[cfg(debug_assertions)]
    {
        job.request.confine.bug = args.plant.map(Into::into);
    }
    let record = engines::engine(engine).run(&job, stop).with_context(|| format!("cannot run {}", attack.name))?;
    serde_json::to_writer_pretty(&mut *out, &record)?;
    writeln!(out)?;
    Ok(if record.status == Status::Ok { Verdict::Well } else { Verdict::Bad })
}
