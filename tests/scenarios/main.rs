//! Writes docs/scenarios.md from the names of our tests and the list of scenarios.

use std::io::{self, Write as _};
use std::process::ExitCode;

use knarr_tests::{scenarios, source};

fn main() -> ExitCode {
    match write() {
        Ok(said) => {
            let _best_effort = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _best_effort = writeln!(io::stderr(), "scenarios: {why}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<String, String> {
    let root = source::root();
    let list = std::fs::read_to_string(root.join(scenarios::LIST))
        .map_err(|error| format!("{}: {error}", scenarios::LIST))?;
    let themes =
        scenarios::parse(&list).map_err(|error| format!("{}: {error}", scenarios::LIST))?;
    let proofs = source::proofs(&source::rust_files(&root));
    let page = scenarios::render(&themes, &proofs);
    std::fs::write(root.join(scenarios::PAGE), &page)
        .map_err(|error| format!("{}: {error}", scenarios::PAGE))?;
    let report = scenarios::report(&themes, &proofs);
    let mut said = vec![format!("{} is written", scenarios::PAGE)];
    if !report.unanswered.is_empty() {
        said.push(format!("no test proves {}", report.unanswered.join(", ")));
    }
    said.extend(report.wrong);
    Ok(said.join("\n"))
}
