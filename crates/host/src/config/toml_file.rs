//! `knarr.toml`: the same settings by their keys, in a file.

use std::collections::BTreeMap;
use std::path::Path;

use super::setting::Setting;
use super::wrong::Wrong;

/// The file's values by key, as texts. Unknown keys are wrong: a slip of the pen must not pass.
pub(super) fn read(path: &Path, known: &[Setting]) -> Result<BTreeMap<String, String>, Vec<Wrong>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Wrong::new("KNARR_CONFIG", format!("cannot read {shown}: {error}"))]
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // The parser's own display repeats the line, which may hold a secret.
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        let why = format!("{shown} line {line} is not TOML: {}", error.message());
        vec![Wrong::new("KNARR_CONFIG", why)]
    })?;
    let mut values = BTreeMap::new();
    let mut wrongs = Vec::new();
    for (key, value) in table {
        match meant(&key, known).and_then(|()| text_of(value)) {
            Ok(text) => {
                values.insert(key, text);
            }
            Err(why) => wrongs.push(Wrong::new(format!("`{key}` in {shown}"), why)),
        }
    }
    match wrongs.is_empty() {
        true => Ok(values),
        false => Err(wrongs),
    }
}

fn meant(key: &str, known: &[Setting]) -> Result<(), String> {
    let own = |setting: &&Setting| {
        setting.name != "KNARR_CONFIG"
            && (setting.key() == key || setting.secret && format!("{}_file", setting.key()) == key)
    };
    if known.iter().any(|setting| own(&setting)) {
        return Ok(());
    }
    let like = known.iter().find(|setting| setting.name.eq_ignore_ascii_case(key));
    Err(match like {
        Some(setting) => format!("there is no such setting; write `{}`", setting.key()),
        None => "there is no such setting; docs/configuration.md lists all".to_owned(),
    })
}

fn text_of(value: toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Result<Vec<String>, String> = items.into_iter().map(text_of).collect();
            Ok(texts?.join(","))
        }
        other => Err(format!("a {} is no value of a setting", other.type_str())),
    }
}
