//! `evlab debug`: a guest in the hands of gdb.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use evlab::cli::{DebugArgs, DebugConsole, DebugStart};
use evlab::debug::{self, Ending, Images, Listening, Options, Place};
use evlab::engines::StopFlag;
use vmm_min::Start;
use workloads::Profile;

use super::Verdict;
use super::run::{engine_named, job};

/// Waits for gdb and does what it says.
pub(crate) fn execute(args: &DebugArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engine = engine_named(&args.engine)?;
    let known = workloads::find(&args.workload);
    let mut job = job(&args.workload, &args.args, engine, &args.machine, Profile::Full)?;
    // Nothing is measured.
    job.request.prefault = false;
    let (machine, runner) = debug::machine(&job)?;
    let place = match &args.unix {
        Some(path) => Place::Unix(path.clone()),
        None => Place::tcp(&args.listen, args.allow_remote)?,
    };
    let listening = Listening::at(&place)?;
    let target = listening.target()?;
    let own_file = known.is_none().then_some(Path::new(&args.workload));
    let images =
        Images::write(args.images.as_deref(), own_file, &job.program.name, &job.program.elf, workloads::kernel())?;
    let (name, command) = (&args.workload, images.gdb_command(&target));
    // Standard output is the guest's.
    eprintln!("evlab debug: {name} on {engine} waits for gdb at {target}; in another terminal:\n  {command}");
    out.flush()?;
    let Some(connection) = listening.accept(stop)? else { return Ok(Verdict::Interrupted) };
    let options = Options {
        start: match args.from {
            DebugStart::Ring3 => Start::Ring3,
            DebugStart::Boot => Start::Boot,
        },
        console_in_gdb: args.console == DebugConsole::Gdb,
        limit: Duration::from_secs(args.machine.timeout),
        sandbox: args.machine.sandbox.choice().map(|choice| (runner, choice)),
        pid_address: debug::symbol(workloads::kernel(), "current_pid"),
    };
    let ending = debug::serve(machine, connection, &options, stop)?;
    let (said, verdict) = match ending {
        Ending::Exited(0) => ("the guest ended with exit code 0".to_owned(), Verdict::Well),
        Ending::Exited(code) => (format!("the guest ended with exit code {code}"), Verdict::Bad),
        Ending::Failed(why) => (why, Verdict::Bad),
        Ending::Killed => ("gdb killed the guest".to_owned(), Verdict::Well),
        Ending::Gone(why) => (format!("{why}; the guest was ended"), Verdict::Inconclusive),
        Ending::Stopped => ("stopped".to_owned(), Verdict::Interrupted),
    };
    eprintln!("evlab debug: {said}");
    Ok(verdict)
}
