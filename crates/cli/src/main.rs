//! The knarr binary: every verb of the library, our sagas, the sandbox and the demo.

mod demo;
mod sagas;
mod sandbox;

use std::process::ExitCode;

fn main() -> ExitCode {
    let app = sagas::app().verb(demo::command(), demo::run).verb(sandbox::command(), sandbox::run);
    knarr::main(app)
}
