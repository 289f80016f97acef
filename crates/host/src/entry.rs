//! From a command line to a verb, and from its end to an exit code.

use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::App;
use crate::error::Error;
use crate::out;
use crate::verbs::{
    audit, bench, check, completions, diagram, endpoints, incidents, instances, migrate, publish,
    quarantine, sagas, serve,
};

#[derive(Debug, Parser)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve all sagas until told to stop
    Serve(serve::Args),
    /// Bring the store's schema up to date
    Migrate(migrate::Args),
    /// Say what is wrong with the sagas, without starting them
    Check(check::Args),
    /// Draw a saga's table
    Diagram(diagram::Args),
    /// Publish one message
    Publish(publish::Args),
    /// Show the sagas of a running server
    Sagas(sagas::Args),
    /// Show instances; cancel, purge or resume one
    #[command(subcommand)]
    Instances(instances::Verb),
    /// Show endpoints; halt, pause or resume one
    #[command(subcommand)]
    Endpoints(endpoints::Verb),
    /// Show what failed; retry, resolve or discard it
    #[command(subcommand)]
    Incidents(incidents::Verb),
    /// Show messages that were set aside; release, edit, discard or unblock them
    #[command(subcommand)]
    Quarantine(quarantine::Verb),
    /// Show who did what, and why
    Audit(audit::Args),
    /// Measure RabbitMQ and Postgres with the engine between them
    Bench(bench::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Runs the verb that the command line names. Every application has the same ones, and those it adds
/// with [`App::verb`].
///
/// The exit code is 0 when all went well, 1 when the verb failed, 2 for a wrong command line or
/// configuration, 70 when the process should be started again.
pub fn main(mut app: App) -> ExitCode {
    let own = app.take_verbs();
    let mut command = command(&app);
    for verb in &own {
        command = command.subcommand(verb.command.clone());
    }
    let mut matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            let _unread = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let named = matches.subcommand_name().map(str::to_owned);
    if let Some(verb) =
        own.into_iter().find(|verb| Some(verb.command.get_name()) == named.as_deref())
    {
        let Some((_, matches)) = matches.remove_subcommand() else { return ExitCode::from(2) };
        return in_runtime((verb.run)(matches)).unwrap_or_else(|error| told(&error));
    }
    let line = match Line::from_arg_matches(&matches) {
        Ok(line) => line,
        Err(error) => {
            let _unread = error.print();
            return ExitCode::from(2);
        }
    };
    let ended = match line.verb {
        Verb::Completions(args) => completions::run(command, &args),
        verb => in_runtime(run(app, verb)).and_then(|ended| ended),
    };
    ended.map_or_else(|error| told(&error), |()| ExitCode::SUCCESS)
}

fn command(app: &App) -> Command {
    Line::command()
        .name(app.name().to_owned())
        .version(app.told_version().to_owned())
        .about(format!("{}: sagas over RabbitMQ and Postgres, or one SQLite file", app.name()))
}

async fn run(app: App, verb: Verb) -> Result<(), Error> {
    match verb {
        Verb::Serve(args) => serve::run(app, args).await,
        Verb::Migrate(args) => migrate::run(app, args).await,
        Verb::Check(args) => check::run(app, args).await,
        Verb::Diagram(args) => diagram::run(app, args).await,
        Verb::Publish(args) => publish::run(app, args).await,
        Verb::Sagas(args) => sagas::run(app, args).await,
        Verb::Instances(verb) => instances::run(app, verb).await,
        Verb::Endpoints(verb) => endpoints::run(app, verb).await,
        Verb::Incidents(verb) => incidents::run(app, verb).await,
        Verb::Quarantine(verb) => quarantine::run(app, verb).await,
        Verb::Audit(args) => audit::run(app, args).await,
        Verb::Bench(args) => bench::run(app, args).await,
        // Needs no runtime and no application: it was taken care of before.
        Verb::Completions(_) => Ok(()),
    }
}

fn in_runtime<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(work);
    // Threads that decide or look names up may hang; they must not hold the process.
    runtime.shutdown_background();
    Ok(ended)
}

/// The error, a line each for what is wrong, and its exit code.
fn told(error: &Error) -> ExitCode {
    if error.code() != 0 {
        for line in error.to_string().lines() {
            out::say(&format!("error: {line}"));
        }
    }
    error.exit_code()
}
