//! Everything that is wrong with a table, found at start and told all at once.

use std::collections::BTreeSet;
use std::fmt;

use knarr_model::names::check_entity_name;
use knarr_model::shape::EventShape;

use crate::behaviour::Aim;
use crate::event::Source;
use crate::index::Index;
use crate::machine::Machine;
use crate::states::States;
use crate::table::{Ending, Line, Mistake, Place, Table, Trigger, Unhandled};

/// One thing that is wrong with a table, or worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable code, such as `unreachable-state`.
    pub code: &'static str,
    /// Whether the machine may start with it.
    pub severity: Severity,
    /// A sentence that names machine, state and event.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.text)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// The table contradicts itself or cannot work: the machine must not start.
    Error,
}

/// Everything that is wrong with a table: errors first, else in the order of the table.
pub(crate) fn findings<M: Machine>(saga: &str, table: &Table<M>, index: &Index) -> Vec<Finding> {
    let mut check = Check { saga, table, index, found: Vec::new() };
    check.names();
    check.mistakes();
    check.declared();
    check.correlations();
    check.own_faults();
    check.starts();
    check.duplicates();
    let reachable = check.reachable();
    check.unreachable(&reachable);
    for state in reachable {
        check.trap(state);
        check.timeout(state);
        check.unhandled(state);
        check.failures(state);
    }
    check.found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    check.found
}

struct Check<'t, M: Machine> {
    saga: &'t str,
    table: &'t Table<M>,
    index: &'t Index,
    found: Vec<Finding>,
}

impl<M: Machine> Check<'_, M> {
    fn error(&mut self, code: &'static str, text: String) {
        self.found.push(Finding { code, severity: Severity::Error, text });
    }

    fn warning(&mut self, code: &'static str, text: String) {
        self.found.push(Finding { code, severity: Severity::Warning, text });
    }

    fn names(&mut self) {
        let saga = self.saga;
        if let Err(why) = check_entity_name(saga) {
            self.error("bad-name", format!("`{saga}` cannot name an endpoint: {why}"));
        }
        for taken in &self.table.messages {
            if let Err(why) = check_entity_name(&taken.kind.exchange) {
                let text = format!("{saga}: {} cannot travel: {why}", taken.kind.exchange);
                self.error("bad-name", text);
            }
        }
    }

    fn mistakes(&mut self) {
        let saga = self.saga;
        for mistake in &self.table.mistakes {
            let (code, text) = match mistake {
                Mistake::CorrelatedTwice(event) => {
                    ("correlated-twice", format!("{saga}: {event} is correlated twice"))
                }
                Mistake::NoStates(event) => {
                    ("no-states", format!("{saga}: the row for {} names no state", say(event)))
                }
                Mistake::OddJoin(sources) if sources.is_empty() => {
                    ("odd-join", format!("{saga}: a join over nothing never fires"))
                }
                Mistake::OddJoin(sources) => {
                    let event = say(&EventShape::AllOf(sources.clone()));
                    ("odd-join", format!("{saga}: the join over {event} names a source twice"))
                }
                Mistake::NeverRuns(event, names) => {
                    let (event, names) = (say(event), names.join(", "));
                    let text = format!("{saga}: the row for {event} never runs {names}");
                    ("never-runs", text)
                }
                Mistake::TwoTypes(name) => {
                    ("two-types", format!("{saga}: two Rust types are both called {name}"))
                }
            };
            self.error(code, text);
        }
    }

    /// What the machine declares of its own tables, and for its failed runs.
    fn declared(&mut self) {
        let (saga, sql) = (self.saga, &self.table.sql);
        for (code, text) in sql.mistakes() {
            self.error(code, format!("{saga}: {text}"));
        }
        if sql.purge_steps.is_empty() && !(sql.statements.is_empty() && sql.migrations.is_empty()) {
            let text = format!(
                "{saga}: it has tables of its own and no m.purge_step(..): what a failed run \
                 wrote there stays"
            );
            self.warning("no-purge-step", text);
        }
        if self.table.settings.failures.restart_after.is_some_and(|time| time.is_zero()) {
            let text = format!("{saga}: restart_after(0) would never let it stand still");
            self.error("bad-restart", text);
        }
    }

    fn correlations(&mut self) {
        let saga = self.saga;
        for (at, taken) in self.table.messages.iter().enumerate() {
            let event = &taken.kind.exchange;
            let used = self.table.rows.iter().any(|line| line.on == Trigger::Message(at))
                || !self.index.messages[at].feeds.is_empty();
            if !used {
                self.warning("dead-correlation", format!("{saga}: no row takes {event}"));
            } else if taken.correlation.is_none() && !taken.kind.has_id {
                let text = format!(
                    "{saga}: {event} names no instance: add m.correlate, or give it a member \
                     correlation_id, event_id or command_id"
                );
                self.error("no-correlation", text);
            }
        }
    }

    /// A machine that took the fault of its own event would meet it only once its run is gone.
    fn own_faults(&mut self) {
        let saga = self.saga;
        let own = |urn: &str| {
            let of = urn.strip_prefix("urn:message:MassTransit:Fault[[")?.strip_suffix("]]")?;
            let urn = format!("urn:message:{of}");
            self.table.messages.iter().find(|taken| taken.kind.urn == urn)
        };
        let found = self.table.messages.iter().filter_map(|taken| own(&taken.kind.urn));
        let texts: Vec<_> = found
            .map(|of| {
                let event = &of.kind.exchange;
                format!(
                    "{saga}: a row takes the fault of its own {event}, which is told when the run \
                     is over: take a call's failure with failed::<..>"
                )
            })
            .collect();
        texts.into_iter().for_each(|text| self.error("own-fault", text));
    }

    fn starts(&mut self) {
        let saga = self.saga;
        let starts: Vec<_> =
            self.table.rows.iter().filter(|line| line.place == Place::Initially).collect();
        if starts.is_empty() {
            let text = format!("{saga}: no row starts it: add m.initially::<..>().create(..)");
            self.error("no-start", text);
        }
        for line in starts {
            if exits(line).contains(&Aim::Stay) {
                let event = say(&self.table.event_shape(&line.on));
                let text = format!("{saga}: the start row for {event} stays in Initial");
                self.error("stay-in-initial", text);
            }
        }
        for line in &self.table.rows {
            if matches!(&line.ending, Ending::Branch(aims, _) if aims.is_empty()) {
                let event = say(&self.table.event_shape(&line.on));
                let text = format!("{saga}: the branch for {event} declares no target");
                self.error("no-targets", text);
            }
        }
    }

    fn duplicates(&mut self) {
        let mut seen = BTreeSet::new();
        for line in &self.table.rows {
            let places = match &line.place {
                Place::Initially => vec!["Initial"],
                Place::Any => vec!["any state"],
                Place::In(numbers) => numbers.iter().map(|n| M::State::NAMES[*n]).collect(),
            };
            for place in places {
                if !seen.insert((line.on.clone(), place)) {
                    let event = say(&self.table.event_shape(&line.on));
                    let text = format!("{}: two rows for {event} in {place}", self.saga);
                    self.error("duplicate-row", text);
                }
            }
        }
    }

    /// The states that some run can be in, in declared order.
    fn reachable(&self) -> Vec<usize> {
        let mut reached = BTreeSet::new();
        let starts = self.table.rows.iter().filter(|line| line.place == Place::Initially);
        let mut open: Vec<usize> = starts.flat_map(states_of).collect();
        while let Some(state) = open.pop() {
            if reached.insert(state) {
                open.extend(self.lines(state).into_iter().flat_map(states_of));
            }
        }
        reached.into_iter().collect()
    }

    fn unreachable(&mut self, reachable: &[usize]) {
        for (number, name) in M::State::NAMES.iter().enumerate() {
            if !reachable.contains(&number) {
                let text = format!("{}: no row leads to {name}", self.saga);
                self.warning("unreachable-state", text);
            }
        }
    }

    fn trap(&mut self, state: usize) {
        if !self.lines(state).into_iter().any(|line| leaves(line, state)) {
            let name = M::State::NAMES[state];
            let text = format!("{}: no row leaves {name}, and none ends the run there", self.saga);
            self.warning("trap-state", text);
        }
    }

    /// A state that only a message can end may be waited in for ever. Calls end by themselves.
    fn timeout(&mut self, state: usize) {
        let ends = |line: &&Line<M>| leaves(line, state);
        let leaving: Vec<_> = self.lines(state).into_iter().filter(ends).collect();
        let by_itself = |line: &&Line<M>| match line.on {
            Trigger::Message(_) => false,
            Trigger::Done(_) | Trigger::Failed(_) | Trigger::Timer(_) => true,
            Trigger::Join(at) => {
                let sources = &self.table.joins[at].sources;
                !sources.iter().any(|source| matches!(source, Source::Message(_)))
            }
        };
        if !leaving.is_empty() && !leaving.iter().any(by_itself) {
            let name = M::State::NAMES[state];
            let text =
                format!("{}: {name} waits for messages alone and has no timer row", self.saga);
            self.warning("no-timeout", text);
        }
    }

    /// Start messages are left out: one that comes again is set aside and seen there.
    fn unhandled(&mut self, state: usize) {
        if self.table.settings.unhandled == Unhandled::Ignore {
            return;
        }
        for (at, entry) in self.index.messages.iter().enumerate() {
            let taken = entry.row(state).is_some() || !entry.feeds.is_empty();
            let used = self.table.rows.iter().any(|line| line.on == Trigger::Message(at));
            if used && !taken && entry.start().is_none() {
                let (name, event) =
                    (M::State::NAMES[state], &self.table.messages[at].kind.exchange);
                let text = format!(
                    "{}: no row takes {event} in {name}: add one, .ignore() it or .defer() it",
                    self.saga
                );
                self.warning("unhandled-event", text);
            }
        }
    }

    fn failures(&mut self, state: usize) {
        for (call, entry) in &self.index.done {
            let failed = self.index.failed.get(call);
            let covered = failed.is_some_and(|f| f.row(state).is_some() || !f.feeds.is_empty());
            if entry.row(state).is_some() && !covered {
                let name = M::State::NAMES[state];
                let text = format!(
                    "{}: {name} has a row for done {call} and none for failed {call}: its \
                     failure fails the run",
                    self.saga
                );
                self.warning("no-failure-row", text);
            }
        }
    }

    /// The rows that apply in a state.
    fn lines(&self, state: usize) -> Vec<&Line<M>> {
        let index = self.index;
        let entries = index.messages.iter().chain(&index.joins);
        let entries = entries.chain(index.done.values()).chain(index.failed.values());
        let entries = entries.chain(index.timers.values());
        entries.filter_map(|entry| entry.row(state)).map(|at| &self.table.rows[at]).collect()
    }
}

/// Where a row may lead.
fn exits<M>(line: &Line<M>) -> Vec<Aim> {
    match &line.ending {
        Ending::To(aim) => vec![aim.clone()],
        Ending::Branch(aims, _) => aims.clone(),
        Ending::Ignore | Ending::Defer => Vec::new(),
    }
}

fn states_of<M>(line: &Line<M>) -> Vec<usize> {
    let number = |aim| if let Aim::To(number) = aim { Some(number) } else { None };
    exits(line).into_iter().filter_map(number).collect()
}

fn leaves<M>(line: &Line<M>, state: usize) -> bool {
    exits(line).iter().any(|aim| !matches!(aim, Aim::Stay) && *aim != Aim::To(state))
}

/// An event in words: `done AskVirusTotal`.
pub(crate) fn say(event: &EventShape) -> String {
    match event {
        EventShape::Message(name) => name.clone(),
        EventShape::Done(call) => format!("done {call}"),
        EventShape::Failed(call) => format!("failed {call}"),
        EventShape::Ended(call) => format!("ended {call}"),
        EventShape::Timer(timer) => format!("timer {timer}"),
        EventShape::AllOf(all) => {
            format!("all of [{}]", all.iter().map(say).collect::<Vec<_>>().join(", "))
        }
    }
}
