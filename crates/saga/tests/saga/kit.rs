//! A bench on which one instance of a machine is fed events by hand.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use knarr_model::{Effect, Envelope, Failure, Instance, InstanceId, Message, MessageId, RowId};
use knarr_saga::{Call, Cause, Decision, Definition, Event, Live, Machine, Timer, definition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

/// The id of the instance on the bench.
pub(crate) const ID: Uuid = Uuid::from_u128(0x0D);

pub(crate) struct Bench {
    pub(crate) definition: Arc<dyn Definition>,
    pub(crate) live: Box<dyn Live>,
    causes: u128,
}

impl Bench {
    /// A bench with no instance yet.
    pub(crate) fn of<M: Machine>() -> Bench {
        let definition = definition::<M>();
        let live = definition.open(InstanceId(ID), None).expect("nothing to read");
        Bench { definition, live, causes: 0 }
    }

    /// Saves and loads the instance, as a commit in between would.
    pub(crate) fn reload(&mut self) {
        let stored = self.stored().map(|instance| {
            let text = serde_json::to_string(&instance).expect("an instance is JSON");
            serde_json::from_str::<Instance>(&text).expect("and reads back")
        });
        self.live = self.definition.open(InstanceId(ID), stored.as_ref()).expect("loads");
    }

    pub(crate) fn cause(&mut self) -> Cause {
        self.causes += 1;
        let at = start() + TimeDelta::seconds(self.causes as i64);
        Cause { id: MessageId(Uuid::from_u128(self.causes)), at }
    }

    pub(crate) fn send<E: Message>(&mut self, message: &E) -> Decision {
        let cause = self.cause();
        self.live.decide(&cause, &Event::Message(&envelope(cause.id, message)))
    }

    pub(crate) fn done<C: Call>(&mut self, output: &C::Output) -> Decision {
        let token = self.call::<C>().expect("a call is open");
        self.done_with::<C>(token, output)
    }

    pub(crate) fn done_with<C: Call>(&mut self, token: RowId, output: &C::Output) -> Decision {
        let cause = self.cause();
        let output = raw(output);
        let run = self.run();
        self.live.decide(&cause, &Event::Done { call: C::name(), token, run, output: &output })
    }

    pub(crate) fn failed<C: Call>(&mut self, failure: &Failure) -> Decision {
        let token = self.call::<C>().expect("a call is open");
        let cause = self.cause();
        let run = self.run();
        self.live.decide(&cause, &Event::Failed { call: C::name(), token, run, failure })
    }

    pub(crate) fn fire(&mut self, timer: impl Timer) -> Decision {
        let token = self.timer(timer.name()).expect("the timer is live");
        let run = self.run();
        self.fire_with(timer.name(), token, run)
    }

    pub(crate) fn fire_with(&mut self, name: &str, token: RowId, run: u32) -> Decision {
        let cause = self.cause();
        self.live.decide(&cause, &Event::Timer { name, token, run })
    }

    /// The oldest open call of a type.
    pub(crate) fn call<C: Call>(&self) -> Option<RowId> {
        let book = self.stored()?.book;
        book.calls.into_iter().find(|open| open.call == C::name()).map(|open| open.token)
    }

    pub(crate) fn timer(&self, name: &str) -> Option<RowId> {
        self.stored()?.book.timers.get(name).map(|live| live.token)
    }

    pub(crate) fn run(&self) -> u32 {
        self.stored().map_or(1, |instance| instance.run)
    }

    pub(crate) fn stored(&self) -> Option<Instance> {
        self.live.save().expect("saves")
    }

    pub(crate) fn data<M: DeserializeOwned>(&self) -> M {
        let stored = self.stored().expect("there is an instance");
        serde_json::from_str(stored.data.get()).expect("the machine's data")
    }
}

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
}

pub(crate) fn envelope<E: Message>(id: MessageId, message: &E) -> Envelope {
    Envelope::new(id, E::urn(), raw(message))
}

pub(crate) fn raw<T: Serialize>(value: &T) -> Arc<RawValue> {
    to_raw_value(value).expect("JSON").into()
}

/// Effects in short: `publish Name`, `call Name`, `set name`, `cancel`, `withdraw`,
/// `sql name`, `finish`.
pub(crate) fn told(decision: &Decision) -> Vec<String> {
    let tell = |effect: &Effect| match effect {
        Effect::Message(message) => {
            let name = message.types.first().map(|name| name.path.join("+"));
            format!("publish {}", name.unwrap_or_default())
        }
        Effect::Schedule { timer, replaces: None, .. } => format!("set {timer}"),
        Effect::Schedule { timer, .. } => format!("replace {timer}"),
        Effect::Unschedule { .. } => "cancel".to_owned(),
        Effect::Call(call) => format!("call {}", call.call),
        Effect::Withdraw { .. } => "withdraw".to_owned(),
        Effect::Sql(statement) => format!("sql {}", statement.name),
        Effect::Finish => "finish".to_owned(),
    };
    decision.effects.iter().map(tell).collect()
}

/// Declares messages with an id and nothing else.
#[macro_export]
macro_rules! messages {
    ($($name:ident),*) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize, Message)]
        #[serde(rename_all = "camelCase")]
        #[message(namespace = "Test")]
        struct $name { correlation_id: uuid::Uuid }
        impl Default for $name {
            fn default() -> Self {
                $name { correlation_id: $crate::kit::ID }
            }
        }
    )*};
}
