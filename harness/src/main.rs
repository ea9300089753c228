//! The binary `evlab`: reads the command line and ends with the exit code that the command earned.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use evlab::cli::{Cli, Command};
use evlab::engines::StopFlag;

use commands::Verdict;

mod commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
    commands::list::ask_for_width();
    let mut out = io::stdout();
    let ended = dispatch(&cli.command, &mut out).and_then(|verdict| Ok(out.flush().map(|()| verdict)?));
    match ended {
        Ok(verdict) => ExitCode::from(verdict.code()),
        // A trace is there to be looked into, so nobody misses what is not read.
        Err(error) if is_broken_pipe(&error) && matches!(cli.command, Command::Trace(_)) => ExitCode::SUCCESS,
        // Whoever reads the output has had enough, as in `evlab list | head`: end silently, as SIGPIPE would end it.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            // With nowhere to complain to, the exit code still tells.
            let _ = writeln!(io::stderr(), "evlab: {}", one_line(&error));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: &Command, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    match command {
        Command::Studio(args) => commands::studio::execute(args, &stop_on_ctrl_c()?, out),
        Command::Ablate(args) => commands::ablate::execute(args, &stop_on_ctrl_c()?, out),
        Command::Run(args) => commands::run::execute(args, &stop_on_ctrl_c()?, out),
        Command::List(args) => commands::list::execute(args, out),
        Command::Doctor(args) => commands::doctor::execute(args, out),
        Command::Report(args) => commands::report::execute(args, out),
        Command::Compare(args) => commands::compare::execute(args, out),
        Command::Gate(args) => commands::gate::execute(args, &stop_on_ctrl_c()?, out),
        Command::Calibrate(args) => commands::calibrate::execute(args, &stop_on_ctrl_c()?, out),
        Command::Debug(args) => commands::debug::execute(args, &stop_on_ctrl_c()?, out),
        Command::Walk(args) => commands::walk::execute(args, &stop_on_ctrl_c()?, out),
        Command::Trace(args) => commands::trace::execute(args, &stop_on_ctrl_c()?, out),
        Command::Exec(args) => commands::exec::execute(args, out),
        Command::Isolation(args) => commands::isolation::execute(args, &stop_on_ctrl_c()?, out),
        Command::Crowd(args) => commands::crowd::execute(args, &stop_on_ctrl_c()?, out),
        Command::Attack(args) => commands::attack::execute(args, &stop_on_ctrl_c()?, out),
        Command::Micro(args) => commands::micro::execute(args, &stop_on_ctrl_c()?, out),
        Command::Warmup(args) => commands::warmup::execute(args, &stop_on_ctrl_c()?, out),
        Command::Event(args) => commands::event::execute(args, &stop_on_ctrl_c()?, out),
        Command::Explain(args) => commands::explain::execute(args, &stop_on_ctrl_c()?, out),
        Command::Predict(args) => commands::predict::execute(args, &stop_on_ctrl_c()?, out),
        Command::Profile(args) => commands::profile::execute(args, &stop_on_ctrl_c()?, out),
        Command::Completions(args) => commands::completions::execute(args, out),
        Command::Man(args) => commands::man::execute(args, out),
        Command::Fuzz(args) => commands::fuzz::execute(args, &stop_on_ctrl_c()?, out),
    }
}

/// A flag that Ctrl-C, a hang-up or a termination sets; a second one ends the process at once, and the kernel then
/// kills what it started.
fn stop_on_ctrl_c() -> anyhow::Result<StopFlag> {
    let stop = StopFlag::new();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.is_stopped() {
            std::process::exit(i32::from(Verdict::Interrupted.code()));
        }
        flag.stop();
    })?;
    Ok(stop)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(broken)
            || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind)
                == Some(io::ErrorKind::BrokenPipe)
    })
}

/// The error and its causes on one line, without a cause that the sentence before it already quotes.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text.replace('\n', " ")
}
