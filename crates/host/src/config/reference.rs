//! The reference of all settings as Markdown, written from the table.

use std::fmt::Write as _;

use super::setting::{Fallback, Setting};
use super::table::SETTINGS;

const HEAD: &str = "# Configuration\n\n\
    Written from the table of settings in the code; a test fails when the two differ.\n\n\
    A value is taken from the first place that has one: a flag, the environment, `knarr.toml`, the \
    default. Frequent settings have a flag of their own (`knarr serve --help`), every setting can \
    be given as `--set NAME=VALUE`. In `knarr.toml` a setting stands in lower case and without \
    `KNARR_`: `broker = \"amqp://…\"`. Secrets may stand in a file: `KNARR_ADMIN_TOKEN_FILE`, \
    `admin_token_file`. Durations are `200ms`, `20s`, `30m`, `12h`, `7d`. A wrong value is told in \
    one line that names the setting, and the exit code is 2.\n\n";

/// The page for our own settings and those of an application.
pub(crate) fn reference(own: &[Setting]) -> String {
    let mut text = String::from(HEAD);
    table(&mut text, SETTINGS);
    if !own.is_empty() {
        text.push_str("\n## Settings of the sagas\n\n");
        table(&mut text, own);
    }
    text
}

fn table(text: &mut String, settings: &[Setting]) {
    text.push_str("| setting | in `knarr.toml` | default | meaning |\n|---|---|---|---|\n");
    for setting in settings {
        let default = match setting.default {
            Fallback::Text(text) => format!("`{text}`"),
            Fallback::Told(words) => words.to_owned(),
            Fallback::Unset => "–".to_owned(),
        };
        let secret = if setting.secret { " *Secret.*" } else { "" };
        let key = match setting.name {
            "KNARR_CONFIG" => "–".to_owned(),
            _ => format!("`{}`", setting.key()),
        };
        let cells =
            [format!("`{}`", setting.name), key, default, format!("{}{secret}", setting.meaning)];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _infallible = writeln!(text, "| {} |", cells.join(" | "));
    }
}
