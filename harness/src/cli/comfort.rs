//! Options of what makes the command line itself comfortable.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `evlab completions`
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
Put what it prints where your shell looks for completions:
  evlab completions bash > ~/.local/share/bash-completion/completions/evlab
  evlab completions zsh > ~/.zfunc/_evlab        (with fpath+=~/.zfunc before compinit in ~/.zshrc)
  evlab completions fish > ~/.config/fish/completions/evlab.fish";

/// `evlab man`
#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub struct ManArgs {
    /// Write the pages into this folder, evlab.1, evlab-studio.1 and so on; without it, evlab.1 is printed
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

const MAN_HELP: &str = "\
Examples:
  evlab man | man -l -                           read the page of evlab
  evlab man --out ~/.local/share/man/man1        then man evlab-studio and the others work";
