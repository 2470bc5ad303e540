//! `completions`: a script for a shell that completes commands, options and their values.

use clap::Args;
use clap_complete::{Shell, generate};

use super::exit::{Exit, Failure};
use super::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd completions bash > ~/.local/share/bash-completion/completions/campaignd
  campaignd completions zsh > \"${fpath[1]}/_campaignd\"
  campaignd completions fish > ~/.config/fish/completions/campaignd.fish")]
pub(super) struct Arguments {
    shell: Shell,
}

pub(super) fn completions(
    arguments: &Arguments,
    mut cli: clap::Command,
    out: Output,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut cli, "campaignd", &mut script);
    out.text(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
