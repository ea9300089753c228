//! `evlab man`: the manual pages.

use std::fs;
use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;
use evlab::cli::{Cli, ManArgs};

use super::Verdict;

/// Prints the page of `evlab`, or writes those of all commands into a folder.
pub(crate) fn execute(args: &ManArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let Some(dir) = &args.out else {
        Man::new(Cli::command()).render(out)?;
        return Ok(Verdict::Well);
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write the pages into {}", dir.display()))?;
    writeln!(out, "the pages are in {}", dir.display())?;
    Ok(Verdict::Well)
}
