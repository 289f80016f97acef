//! `diagram`: a saga's table as a drawing.

use std::sync::Arc;

use clap::ValueEnum;
use knarr_saga::{Definition, dot, mermaid, svg};

use super::flags::Flags;
use crate::app::App;
use crate::error::Error;
use crate::laid::Laid;
use crate::out;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The saga
    saga: String,
    /// The form
    #[arg(long, value_enum, default_value = "mermaid")]
    format: Format,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A Mermaid state diagram, as Markdown pages show it
    Mermaid,
    /// A digraph for Graphviz
    Dot,
    /// A picture, as browsers show it
    Svg,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    let (laid, _) = app.resolve(&args.flags.settings())?;
    let shape = named(&laid, &args.saga)?.shape();
    let drawn = match args.format {
        Format::Mermaid => mermaid(&shape),
        Format::Dot => dot(&shape),
        Format::Svg => svg(&shape),
    };
    out::line(drawn.trim_end())
}

/// The saga of this name.
pub(crate) fn named(laid: &Laid, name: &str) -> Result<Arc<dyn Definition>, Error> {
    let found = laid.sagas.iter().find(|saga| &**saga.name() == name);
    found.cloned().ok_or_else(|| {
        let all: Vec<&str> = laid.sagas.iter().map(|saga| &**saga.name()).collect();
        Error::Failed(format!("there is no saga `{name}`; there are: {}", all.join(", ")))
    })
}
