//! `completions`: a script that lets a shell complete verbs and flags.

use clap::Command;
use clap_complete::Shell;

use crate::error::Error;
use crate::out;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(mut command: Command, args: &Args) -> Result<(), Error> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end())
}
