//! `evlab profile`: what a program does, counted in this process, for `evlab explain`.

use std::io::Write;

use anyhow::{Context, bail};
use evlab::cli::ProfileArgs;
use evlab::engines::{self, Job, StopFlag};
use evlab::explain::PROFILE_TIMEOUT_S;
use evlab::micro::{Ring, benchmarks};
use evlab::model::{Confine, EngineId, RunRequest, Status};
use workloads::Profile;

use super::Verdict;
use super::run::program;

/// RAM of the guest, MiB.
pub(crate) const RAM_MIB: u32 = 256;

/// Runs the program under the profiler and prints the record of the run as JSON.
pub(crate) fn execute(args: &ProfileArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let confine = Confine { sandbox: args.sandbox.choice(), ..Confine::default() };
    let (program, kernel, words, hz) = match (args.ring, args.count) {
        (Some(ring), Some(count)) => {
            let ring = Ring::try_from(ring).map_err(anyhow::Error::msg)?;
            let all = benchmarks();
            let Some(benchmark) = all.iter().find(|b| b.event.name() == args.name && b.ring == ring) else {
                bail!("there is no event '{}' in ring {}; evlab micro --list has them", args.name, ring.number());
            };
            let Job { request, program, kernel } = benchmark.job(EngineId::EmuInterp, count, confine.clone());
            (program, kernel, request.args, request.hz)
        }
        _ => {
            let (program, words) = program(&args.name, &args.args, RAM_MIB, 1.0, Profile::Full)?;
            (program, workloads::kernel(), words, workloads::find(&args.name).map_or(0, |workload| workload.hz))
        }
    };
    // Its own time and a CPU that every host can execute: the profile is the same everywhere.
    let request = RunRequest {
        workload: args.name.clone(),
        args: words,
        engine: EngineId::EmuInterp.into(),
        ram_mib: RAM_MIB,
        timeout_s: PROFILE_TIMEOUT_S,
        prefault: false,
        cpu: emu_min::Model::V1,
        hz,
        deterministic: true,
        profile: Some(args.pace),
        placement: None,
        confine,
    };
    let job = Job { request, program, kernel };
    let record = engines::engine(EngineId::EmuInterp)
        .run(&job, stop)
        .with_context(|| format!("cannot profile {}", args.name))?;
    serde_json::to_writer_pretty(&mut *out, &record)?;
    writeln!(out)?;
    Ok(if record.status == Status::Ok { Verdict::Well } else { Verdict::Bad })
}
