//! What a test writes: the steps of a story, and how it ends.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use knarr_model::instance::FINAL;
use knarr_model::statement::Statement;
use knarr_model::{Class, Envelope, Failure, Message, MessageId};
use knarr_saga::definition::Definition;
use knarr_saga::{Call, States};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::board::Answer;
use super::stage::Stage;
use super::trace::Trace;

/// A story about one saga. Nothing happens until [`Story::run`].
#[must_use = "a story is told with .run()"]
pub struct Story {
    definition: Arc<dyn Definition>,
    steps: Vec<Step>,
}

/// What came of a story that ended well.
#[derive(Clone, Debug)]
pub struct Told {
    /// Each step and each decision, with the row of the table that took it.
    pub lines: Vec<String>,
}

struct Step {
    text: String,
    at: &'static Location<'static>,
    what: What,
}

/// Whether a payload fits; an error when it is not of the expected type.
type Check = Box<dyn Fn(&str) -> Result<bool, String>>;

/// Whether the parameters of a statement fit.
type Parameters = Box<dyn Fn(&[Value]) -> bool>;

enum What {
    Given { urn: String, message: Arc<RawValue> },
    GivenAgain,
    Answer { call: &'static str, answer: Answer },
    Advance(Duration),
    Published { exchange: String, check: Check },
    NothingMore,
    Asked { call: &'static str, check: Check },
    NotAsked { call: &'static str },
    State(&'static str),
    NoInstance,
    SetAside(Class),
    Sql { name: String, check: Parameters },
    NoMoreSql,
}

impl Story {
    /// A story about this saga.
    pub fn of(definition: Arc<dyn Definition>) -> Self {
        Story { definition, steps: Vec::new() }
    }

    /// A message comes, and everything happens that follows from it.
    #[track_caller]
    pub fn given<E: Message>(self, message: E) -> Self {
        let what = What::Given { urn: E::urn(), message: raw(&message) };
        self.step(format!("given {}", E::exchange()), what)
    }

    /// Like [`Story::given`], with a payload that may not fit its type.
    #[track_caller]
    pub fn given_json<E: Message>(self, message: Value) -> Self {
        let what = What::Given { urn: E::urn(), message: raw(&message) };
        self.step(format!("given {} {message}", E::exchange()), what)
    }

    /// The last message comes once more, under the same id.
    #[track_caller]
    pub fn given_again(self) -> Self {
        self.step("given again".to_owned(), What::GivenAgain)
    }

    /// The oldest running call of type `C` ends so. A failure is for good unless the call was
    /// asked with a retry policy of its own; `Failure::again` comes back after its time.
    #[track_caller]
    pub fn answer<C: Call>(self, answer: Result<C::Output, Failure>) -> Self {
        let text = match &answer {
            Ok(_) => format!("answer {}", C::name()),
            Err(failure) => format!("answer {} with {failure}", C::name()),
        };
        let answer = answer.map(|output| raw(&output));
        self.step(text, What::Answer { call: C::name(), answer })
    }

    /// Time passes; whatever is due meanwhile happens at its time.
    #[track_caller]
    pub fn advance(self, by: Duration) -> Self {
        self.step(format!("advance {by:?}"), What::Advance(by))
    }

    /// A message of type `E` was published that fits, and no step has spoken of it before.
    #[track_caller]
    pub fn then_published<E: Message>(self, fits: impl Fn(&E) -> bool + 'static) -> Self {
        let what = What::Published { exchange: E::exchange(), check: check(fits) };
        self.step(format!("then published {}", E::exchange()), what)
    }

    /// Nothing was published that no step has spoken of, but for faults and news of incidents.
    #[track_caller]
    pub fn then_nothing_more_published(self) -> Self {
        self.step("then nothing more published".to_owned(), What::NothingMore)
    }

    /// A call of type `C` that fits is running.
    #[track_caller]
    pub fn then_asked<C: Call>(self, fits: impl Fn(&C) -> bool + 'static) -> Self {
        let what = What::Asked { call: C::name(), check: check(fits) };
        self.step(format!("then asked {}", C::name()), what)
    }

    /// No call of type `C` is running: none was made, or it ended, or it was withdrawn.
    #[track_caller]
    pub fn then_not_asked<C: Call>(self) -> Self {
        let what = What::NotAsked { call: C::name() };
        self.step(format!("then not asked {}", C::name()), what)
    }

    /// The instance is in this state.
    #[track_caller]
    pub fn then_state<S: States>(self, state: S) -> Self {
        self.step(format!("then state {}", state.name()), What::State(state.name()))
    }

    /// The run has ended well.
    #[track_caller]
    pub fn then_finished(self) -> Self {
        self.step("then finished".to_owned(), What::State(FINAL))
    }

    /// There is no instance.
    #[track_caller]
    pub fn then_no_instance(self) -> Self {
        self.step("then no instance".to_owned(), What::NoInstance)
    }

    /// One more message was set aside, for this reason.
    #[track_caller]
    pub fn then_set_aside(self, class: Class) -> Self {
        self.step(format!("then set aside as {class}"), What::SetAside(class))
    }

    /// A statement of this name was carried out whose parameters fit, and no step has spoken of it
    /// before. A story has no database: what the statement does there is for a test on one.
    #[track_caller]
    pub fn then_sql(self, name: &str, fits: impl Fn(&[Value]) -> bool + 'static) -> Self {
        let what = What::Sql { name: name.to_owned(), check: Box::new(fits) };
        self.step(format!("then sql {name}"), what)
    }

    /// No statement was carried out that no step has spoken of.
    #[track_caller]
    pub fn then_no_more_sql(self) -> Self {
        self.step("then no more sql".to_owned(), What::NoMoreSql)
    }

    /// Tells the story.
    ///
    /// # Panics
    /// When it does not go as written: with the step, and with everything that happened.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "most stories end here")]
    pub fn run(self) -> Told {
        self.try_run().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Tells the story, and says how it went.
    ///
    /// # Errors
    /// The step that does not hold, and everything that happened until then.
    pub fn try_run(self) -> Result<Told, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|error| format!("no runtime for the story: {error}"))?;
        runtime.block_on(self.tell())
    }

    #[track_caller]
    fn step(mut self, text: String, what: What) -> Self {
        self.steps.push(Step { text, at: Location::caller(), what });
        self
    }

    async fn tell(self) -> Result<Told, String> {
        let trace = Arc::new(Trace::default());
        let name = self.definition.name().clone();
        let lost = |where_: String, why: String| {
            let lines = trace.lines().join("\n  ");
            Err(format!("the story of {name} fails {where_}:\n  {why}\nwhat happened:\n  {lines}"))
        };
        let mut stage = match Stage::open(&self.definition, &trace) {
            Ok(stage) => stage,
            Err(why) => return lost("before it begins".to_owned(), why),
        };
        let mut last = None;
        for (number, step) in self.steps.into_iter().enumerate() {
            let Step { text, at, what } = step;
            trace.step(&format!("{:>2} {text}", number + 1));
            let result = act(&mut stage, &mut last, what).await;
            let result = result.and_then(|()| trace.first_fault().map_or(Ok(()), Err));
            if let Err(why) = result {
                return lost(format!("at step {} ({at}), {text}", number + 1), why);
            }
        }
        let unseen: Vec<_> = stage.set_aside().into_iter().skip(stage.set_aside_told).collect();
        if let Some(row) = unseen.first() {
            let why = format!("a message was set aside unseen: {}, {}", row.class, row.reason);
            return lost("at its end".to_owned(), why);
        }
        stage.close().await;
        Ok(Told { lines: trace.lines() })
    }
}

async fn act(stage: &mut Stage, last: &mut Option<Envelope>, what: What) -> Result<(), String> {
    match what {
        What::Given { urn, message } => {
            let mut envelope = Envelope::new(MessageId(stage.new_id()), urn, message);
            envelope.sent_time = Some(stage.now());
            *last = Some(envelope.clone());
            stage.deliver(envelope);
            stage.settle().await
        }
        What::GivenAgain => {
            let envelope = last.clone().ok_or("no message was given before")?;
            stage.deliver(envelope);
            stage.settle().await
        }
        What::Answer { call, answer } => {
            if !stage.board.answer(call, answer) {
                return Err(format!("{call} is not running; {}", running(stage)));
            }
            stage.settle().await
        }
        What::Advance(by) => stage.advance(by).await,
        What::Published { exchange, check } => published(stage, &exchange, &check),
        What::NothingMore => nothing_more(stage),
        What::Asked { call, check } => asked(stage, call, &check),
        What::NotAsked { call } if stage.board.payloads(call).is_empty() => Ok(()),
        What::NotAsked { call } => Err(format!("{call} is running")),
        What::State(expected) => match stage.instance()? {
            Some(instance) if instance.state == expected => Ok(()),
            Some(instance) => Err(format!("the instance is in state {}", instance.state)),
            None => Err("there is no instance".to_owned()),
        },
        What::NoInstance => match stage.instance()? {
            Some(instance) => Err(format!("there is one, in state {}", instance.state)),
            None => Ok(()),
        },
        What::SetAside(class) => set_aside(stage, class),
        What::Sql { name, check } => sql(stage, &name, &check),
        What::NoMoreSql => no_more_sql(stage),
    }
}

fn published(stage: &mut Stage, exchange: &str, check: &Check) -> Result<(), String> {
    let sent = stage.door.sent();
    stage.told.resize(sent.len(), false);
    let mut others = Vec::new();
    for (at, message) in sent.iter().enumerate() {
        if stage.told[at] || message.exchange != exchange {
            continue;
        }
        if check(&message.message)? {
            stage.told[at] = true;
            return Ok(());
        }
        others.push(message.message.clone());
    }
    if others.is_empty() {
        let names: Vec<_> = sent.into_iter().map(|message| message.exchange).collect();
        return Err(format!("none was; published so far: [{}]", names.join(", ")));
    }
    Err(format!("none of these fits:\n    {}", others.join("\n    ")))
}

fn nothing_more(stage: &Stage) -> Result<(), String> {
    let sent = stage.door.sent();
    // Faults and news of incidents are not the saga's: who wants them asks for them by name.
    let guards = ["MassTransit:Fault", "MassTransit:ReceiveFault", "Knarr:Incident"];
    let is_guards = |at: usize| guards.iter().any(|name| sent[at].exchange.starts_with(name));
    let untold = |at: &usize| !stage.told.get(*at).copied().unwrap_or(false) && !is_guards(*at);
    match (0..sent.len()).find(untold) {
        None => Ok(()),
        Some(at) => Err(format!("{} was: {}", sent[at].exchange, sent[at].message)),
    }
}

fn asked(stage: &Stage, call: &str, check: &Check) -> Result<(), String> {
    let payloads = stage.board.payloads(call);
    for payload in &payloads {
        if check(payload)? {
            return Ok(());
        }
    }
    if payloads.is_empty() {
        return Err(running(stage));
    }
    Err(format!("none of these fits:\n    {}", payloads.join("\n    ")))
}

fn set_aside(stage: &mut Stage, class: Class) -> Result<(), String> {
    let rows = stage.set_aside();
    match rows.get(stage.set_aside_told) {
        None => Err("nothing more was set aside".to_owned()),
        Some(row) if row.class == class => {
            stage.set_aside_told += 1;
            Ok(())
        }
        Some(row) => Err(format!("it was set aside as {}: {}", row.class, row.reason)),
    }
}

fn sql(stage: &mut Stage, name: &str, check: &Parameters) -> Result<(), String> {
    let done = stage.statements();
    stage.statements_told.resize(done.len(), false);
    let untold = done.iter().zip(&mut stage.statements_told).filter(|(_, told)| !**told);
    let mut others = Vec::new();
    for (statement, told) in untold.filter(|(statement, _)| statement.name == name) {
        if check(&statement.parameters) {
            *told = true;
            return Ok(());
        }
        others.push(parameters(statement));
    }
    if others.is_empty() {
        let names: Vec<_> = done.into_iter().map(|statement| statement.name).collect();
        return Err(format!("none was; carried out so far: [{}]", names.join(", ")));
    }
    Err(format!("none of these fits:\n    {}", others.join("\n    ")))
}

fn no_more_sql(stage: &Stage) -> Result<(), String> {
    let done = stage.statements();
    let untold = |at: &usize| !stage.statements_told.get(*at).copied().unwrap_or(false);
    match (0..done.len()).find(untold) {
        None => Ok(()),
        Some(at) => Err(format!("{} was, with {}", done[at].name, parameters(&done[at]))),
    }
}

fn parameters(statement: &Statement) -> String {
    Value::Array(statement.parameters.clone()).to_string()
}

fn running(stage: &Stage) -> String {
    format!("calls that are running: [{}]", stage.board.names().join(", "))
}

fn check<T: DeserializeOwned>(fits: impl Fn(&T) -> bool + 'static) -> Check {
    Box::new(move |text| {
        let value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
        Ok(fits(&value))
    })
}

#[track_caller]
fn raw<T: Serialize>(value: &T) -> Arc<RawValue> {
    to_raw_value(value).expect("a story's values can be written as JSON").into()
}
