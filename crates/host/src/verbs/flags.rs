//! Settings as flags: the frequent ones by name, all others by `--set`.

use std::collections::BTreeMap;

use crate::app::App;
use crate::config;
use crate::error::Error;
use crate::logging;

/// Flags of every verb that needs settings.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration (flags > environment > knarr.toml > defaults)")]
pub(crate) struct Flags {
    /// The file that holds settings [KNARR_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// `embedded:` or amqp[s]://user:password@host:port/vhost [KNARR_BROKER]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// sqlite:PATH or postgres://user:password@host/database [KNARR_STORE]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The Postgres schema that holds the tables [KNARR_SCHEMA]
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// The directory for the SQLite file and the admin token [KNARR_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address and port of the admin API [KNARR_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What is logged, such as `info` or `debug` [KNARR_LOG]
    #[arg(long, value_name = "LEVELS")]
    log: Option<String>,
    /// Any setting by its name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

/// `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    match name.trim() {
        "" => Err("write it as NAME=VALUE".to_owned()),
        name => Ok((name.to_owned(), value.to_owned())),
    }
}

impl Flags {
    /// The flags as settings.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        let named = [
            ("KNARR_CONFIG", &self.config),
            ("KNARR_BROKER", &self.broker),
            ("KNARR_STORE", &self.store),
            ("KNARR_SCHEMA", &self.schema),
            ("KNARR_DATA_DIR", &self.data_dir),
            ("KNARR_LISTEN", &self.listen),
            ("KNARR_LOG", &self.log),
        ];
        let mut settings: BTreeMap<String, String> = self.set.iter().cloned().collect();
        for (name, value) in named {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value.clone());
            }
        }
        settings
    }

    /// Begins to log as the settings say; a verb that is no server is quiet unless told otherwise.
    pub(crate) fn begin_log(&self, app: &App, serves: bool) -> Result<(), Error> {
        let mut settings = self.settings();
        let values = app.values(&settings)?;
        // What is logged by default is meant for servers.
        if !serves && !values.is_set("KNARR_LOG") {
            settings.insert("KNARR_LOG".to_owned(), "warn".to_owned());
        }
        let (filter, format) = config::log(&app.values(&settings)?)?;
        logging::begin(filter, format);
        Ok(())
    }
}
