//! What an application is made of: its sagas, its activities, its settings and its verbs.

use std::collections::BTreeMap;
use std::env::VarError;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Command};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::CancellationToken;
use knarr_saga::{Activity, Call, Definition, ErasedActivity, Machine, definition, erase};

use crate::config::{self, Asked, Config, SETTINGS, Setting, Values, Wrong};
use crate::error::Error;
use crate::laid::{Laid, findings};
use crate::run::run;
use crate::server::{Server, Start};

type Late = Box<dyn FnOnce(App, &Values) -> Result<App, Wrong> + Send>;

/// An application: what [`crate::main`] runs from a command line, and [`App::run`] embeds.
///
/// ```
/// use knarr::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # use uuid::Uuid;
/// # #[derive(Serialize, Deserialize, Message)]
/// # #[message(namespace = "Shop")]
/// # struct Ordered { correlation_id: Uuid }
/// # #[derive(Clone, Copy, States)]
/// # enum Step { Open }
/// # #[derive(Clone, Serialize, Deserialize)]
/// # struct Order;
/// # impl Machine for Order {
/// #     type State = Step;
/// #     fn define(m: &mut Table<Self>) {
/// #         m.initially::<Ordered>().create(|_, _| Order).finish();
/// #     }
/// # }
/// let app = knarr::App::new("shop").saga::<Order>();
/// assert!(app.findings().is_empty());
/// ```
pub struct App {
    name: String,
    version: String,
    sagas: Vec<Arc<dyn Definition>>,
    activities: Vec<Arc<dyn ErasedActivity>>,
    late: Vec<Late>,
    settings: Vec<Setting>,
    set: BTreeMap<String, String>,
    alone: bool,
    verbs: Vec<Verb>,
}

/// A verb besides those that every application has.
pub(crate) struct Verb {
    pub(crate) command: Command,
    pub(crate) run: Box<dyn FnOnce(ArgMatches) -> BoxFuture<'static, ExitCode> + Send>,
}

impl App {
    /// An application that does nothing yet. Its name is shown to brokers and databases.
    pub fn new(name: impl Into<String>) -> App {
        App {
            name: name.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sagas: Vec::new(),
            activities: Vec::new(),
            late: Vec::new(),
            settings: Vec::new(),
            set: BTreeMap::new(),
            alone: false,
            verbs: Vec::new(),
        }
    }

    /// The version that `--version` tells.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> App {
        self.version = version.into();
        self
    }

    /// Serves a saga from the endpoint that bears its name.
    #[must_use]
    pub fn saga<M: Machine>(self) -> App {
        self.saga_definition(definition::<M>())
    }

    /// As [`App::saga`], with a definition made by hand.
    #[must_use]
    pub fn saga_definition(mut self, saga: Arc<dyn Definition>) -> App {
        self.sagas.push(saga);
        self
    }

    /// Answers a call with an activity.
    #[must_use]
    pub fn activity<C: Call, A: Activity<C>>(self, activity: A) -> App {
        self.erased_activities([erase::<C, A>(activity)])
    }

    /// As [`App::activity`], with activities whose types are erased already.
    #[must_use]
    pub fn erased_activities(
        mut self,
        activities: impl IntoIterator<Item = Arc<dyn ErasedActivity>>,
    ) -> App {
        self.activities.extend(activities);
        self
    }

    /// Declares settings of the application's own: they can be set like ours, and stand in the
    /// reference.
    #[must_use]
    pub fn settings(mut self, settings: &[Setting]) -> App {
        self.settings.extend_from_slice(settings);
        self
    }

    /// Adds what depends on settings, once they are known: keys, addresses, deadlines.
    #[must_use]
    pub fn configured(
        mut self,
        add: impl FnOnce(App, &Values) -> Result<App, Wrong> + Send + 'static,
    ) -> App {
        self.late.push(Box::new(add));
        self
    }

    /// Sets a setting in code; neither flags nor environment nor files change it then.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> App {
        self.set.insert(name.into(), value.into());
        self
    }

    /// Reads neither the environment nor files: only what [`App::set`] and flags say counts.
    #[must_use]
    pub fn alone(mut self) -> App {
        self.alone = true;
        self
    }

    /// Adds a verb to the command line.
    #[must_use]
    pub fn verb<F>(
        mut self,
        command: Command,
        run: impl FnOnce(ArgMatches) -> F + Send + 'static,
    ) -> App
    where
        F: Future<Output = ExitCode> + Send + 'static,
    {
        let run = Box::new(move |matches| run(matches).boxed());
        self.verbs.push(Verb { command, run });
        self
    }

    /// Everything that is wrong with what was registered so far, a line each. What
    /// [`App::configured`] adds is looked at by the verb `check` and at start.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        findings(&self.sagas, &self.activities)
    }

    /// The reference of all settings as Markdown.
    #[must_use]
    pub fn reference(&self) -> String {
        config::reference(&self.settings)
    }

    /// Starts everything and returns once the engine runs; a store that is away is waited for.
    /// A broker that is away is not: [`Server::ready`] waits for everything.
    ///
    /// # Errors
    /// Settings that cannot be used, findings, an address in use, a store or broker that refuses
    /// for good.
    pub async fn start(self) -> Result<Server, Error> {
        let (laid, config) = self.resolve(&BTreeMap::new())?;
        Server::start(laid, config, Start::default(), CancellationToken::new()).await
    }

    /// Serves until `shutdown` ends, then drains and returns.
    ///
    /// # Errors
    /// As [`App::start`]; and [`Error::Restart`] when the process is no longer whole.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let (laid, config) = self.resolve(&BTreeMap::new())?;
        run(laid, config, Start::default(), shutdown, |_| {}).await
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn told_version(&self) -> &str {
        &self.version
    }

    pub(crate) fn take_verbs(&mut self) -> Vec<Verb> {
        std::mem::take(&mut self.verbs)
    }

    /// All values of all settings.
    pub(crate) fn values(&self, flags: &BTreeMap<String, String>) -> Result<Values, Error> {
        let known: Vec<Setting> = SETTINGS.iter().chain(&self.settings).copied().collect();
        let unreadable = if self.alone { Vec::new() } else { unreadable(&known) };
        if !unreadable.is_empty() {
            return Err(Error::Config(unreadable));
        }
        let environment = |name: &str| std::env::var(name).ok();
        let asked = Asked {
            known: &known,
            set: &self.set,
            flags,
            environment: (!self.alone).then_some(&environment),
            folder: Path::new("."),
        };
        Ok(config::found(&asked)?)
    }

    /// The application once its settings are known.
    pub(crate) fn laid(mut self, values: &Values) -> Result<Laid, Error> {
        for add in std::mem::take(&mut self.late) {
            self = add(self, values)?;
        }
        Ok(Laid {
            name: self.name,
            version: self.version,
            sagas: self.sagas,
            activities: self.activities,
        })
    }

    pub(crate) fn resolve(self, flags: &BTreeMap<String, String>) -> Result<(Laid, Config), Error> {
        let values = self.values(flags)?;
        // Both are looked at, so that everything wrong is told at once.
        match (Config::of(&values), self.laid(&values)) {
            (Ok(config), Ok(laid)) => Ok((laid, config)),
            (Err(mut wrongs), Err(Error::Config(more))) => {
                wrongs.extend(more);
                Err(Error::Config(wrongs))
            }
            (Err(wrongs), _) => Err(Error::Config(wrongs)),
            (Ok(_), Err(error)) => Err(error),
        }
    }

    /// Settings of ours in the environment that do not exist: slips of the pen.
    pub(crate) fn strangers(&self) -> Vec<String> {
        if self.alone {
            return Vec::new();
        }
        let known = |name: &str| {
            SETTINGS.iter().chain(&self.settings).any(|setting| {
                name == setting.name || setting.secret && name == setting.file_name()
            })
        };
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut strangers: Vec<String> = names
            .filter(|name| name.starts_with("KNARR_") && !name.starts_with("KNARR_TEST_"))
            .filter(|name| !known(name))
            .collect();
        strangers.sort_unstable();
        strangers
    }
}

/// Settings in the environment that are no text: taking them for not set would hide what they say.
fn unreadable(known: &[Setting]) -> Vec<Wrong> {
    let names = known.iter().flat_map(|setting| {
        let file = setting.secret.then(|| setting.file_name());
        std::iter::once(setting.name.to_owned()).chain(file)
    });
    names
        .filter(|name| matches!(std::env::var(name), Err(VarError::NotUnicode(_))))
        .map(|name| Wrong::new(name, "is not UTF-8 text"))
        .collect()
}
