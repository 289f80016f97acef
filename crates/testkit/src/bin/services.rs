//! Starts and stops the RabbitMQ and Postgres that tests share, and prints their URLs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use knarr_testkit::services::{Service, start, status, stop};

const USAGE: &str = "usage: services start|stop|status [rabbitmq|postgres]\n\
                     start prints one line a service, NAME=URL, to be exported by a shell";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<Service> = match arguments.get(1).map(String::as_str) {
        None => Service::ALL.to_vec(),
        Some("rabbitmq") => vec![Service::Rabbitmq],
        Some("postgres") => vec![Service::Postgres],
        Some(_) => return usage(),
    };
    let lines: Vec<String> = match arguments.first().map(String::as_str) {
        Some("start") => wanted.iter().map(|it| line(*it, &start(*it))).collect(),
        Some("status") => wanted.iter().filter_map(|it| Some(line(*it, &status(*it)?))).collect(),
        Some("stop") => {
            for service in &wanted {
                stop(*service);
            }
            Vec::new()
        }
        _ => return usage(),
    };
    let mut out = io::stdout().lock();
    match lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn line(service: Service, url: &str) -> String {
    format!("{}={url}", service.variable())
}

fn usage() -> ExitCode {
    let _best_effort = writeln!(io::stderr(), "{USAGE}");
    ExitCode::from(2)
}
