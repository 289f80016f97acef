//! Simulates many seeds, keeps a ledger so that a long run can be broken off and gone on with, and
//! replays one.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use knarr_testkit::sim::{Mutation, Plan, simulate};

const USAGE: &str = "simulate --seeds N [--from M] [--ledger FILE] [--threads T]
simulate --seed S [--verbose] [--mutation NAME]

The ledger gets a line a finished block of 100 seeds: `first..last violations`. A seed of a block that
is in it is not run again.";

/// Seeds to one line of the ledger.
const BLOCK: u64 = 100;

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    verbose: bool,
    threads: u64,
    ledger: Option<PathBuf>,
    mutation: Option<Mutation>,
}

fn parse() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 1_000,
        from: 0,
        seed: None,
        verbose: false,
        threads: 2,
        ledger: None,
        mutation: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{name} wants a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
        match name.as_str() {
            "--seeds" => parsed.seeds = number(value()?)?,
            "--from" => parsed.from = number(value()?)?,
            "--seed" => parsed.seed = Some(number(value()?)?),
            "--threads" => parsed.threads = number(value()?)?,
            "--ledger" => parsed.ledger = Some(value()?.into()),
            "--verbose" => parsed.verbose = true,
            "--mutation" => {
                let text = value()?;
                let found = Mutation::ALL.into_iter().find(|m| format!("{m:?}") == text);
                parsed.mutation = Some(found.ok_or_else(|| format!("no mutation {text}"))?);
            }
            _ => return Err(format!("{name} is not known\n\n{USAGE}")),
        }
    }
    Ok(parsed)
}

fn plan(arguments: &Arguments, seed: u64) -> Plan {
    let mut plan = Plan::of(seed);
    plan.mutation = arguments.mutation;
    plan.verbose = arguments.verbose;
    plan
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = arguments.seed {
        let outcome = simulate(&plan(&arguments, seed));
        println!("{outcome:#?}");
        return ExitCode::from(u8::from(!outcome.violations.is_empty()));
    }
    match many(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the ledger: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs all blocks that the ledger does not have. Returns how many seeds broke an invariant, those
/// of the ledger included.
#[expect(clippy::print_stdout, reason = "a command line program")]
fn many(arguments: &Arguments) -> std::io::Result<u64> {
    let (done, before) = match &arguments.ledger {
        Some(path) => read(path)?,
        None => (Vec::new(), 0),
    };
    let ledger = match &arguments.ledger {
        Some(path) => Some(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)),
        None => None,
    };
    let broken = AtomicU64::new(before);
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(BLOCK, Ordering::Relaxed);
                    if first >= end {
                        return;
                    }
                    if done.contains(&first) {
                        continue;
                    }
                    let last = (first + BLOCK).min(end);
                    let bad = block(arguments, first, last);
                    broken.fetch_add(bad, Ordering::Relaxed);
                    if let (Some(ledger), true) = (&ledger, last - first == BLOCK)
                        && let Ok(mut file) = ledger.lock()
                    {
                        let _ = writeln!(file, "{first}..{last} {bad}");
                    }
                }
            });
        }
    });
    let broken = broken.into_inner();
    println!("{} seeds from {}: {broken} broke an invariant", arguments.seeds, arguments.from);
    Ok(broken)
}

#[expect(clippy::print_stdout, reason = "a command line program")]
fn block(arguments: &Arguments, first: u64, last: u64) -> u64 {
    let mut bad = 0;
    for seed in first..last {
        let outcome = simulate(&plan(arguments, seed));
        if !outcome.violations.is_empty() {
            bad += 1;
            println!("SEED={seed} {}", outcome.violations.join("; "));
        }
    }
    bad
}

/// First seeds of the blocks that a ledger has, and how many seeds in it broke an invariant.
fn read(path: &PathBuf) -> std::io::Result<(Vec<u64>, u64)> {
    let mut done = Vec::new();
    let mut broken = 0;
    let Ok(file) = File::open(path) else { return Ok((done, 0)) };
    for line in BufReader::new(file).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let first = words.next().and_then(|w| w.split("..").next()).and_then(|w| w.parse().ok());
        let bad: Option<u64> = words.next().and_then(|w| w.parse().ok());
        if let (Some(first), Some(bad)) = (first, bad) {
            done.push(first);
            broken += bad;
        }
    }
    Ok((done, broken))
}
