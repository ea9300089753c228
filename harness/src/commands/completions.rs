//! `evlab completions`: what a shell completes.

use std::io::Write;

use clap::CommandFactory;
use evlab::cli::{Cli, CompletionsArgs};

use super::Verdict;

/// Prints the script for a shell.
pub(crate) fn execute(args: &CompletionsArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    // Generated apart, since the generator panics where its output cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "evlab", &mut script);
    out.write_all(&script)?;
    Ok(Verdict::Well)
}
