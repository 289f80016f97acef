//! Where a value comes from: code, flags, the environment, `knarr.toml`, in this order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::setting::Setting;
use super::toml_file;
use super::values::Values;
use super::wrong::Wrong;

/// Gives the text behind a name.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where values are looked for.
pub(crate) struct Asked<'a> {
    /// Every setting there is.
    pub(crate) known: &'a [Setting],
    /// Set by code; beats everything.
    pub(crate) set: &'a BTreeMap<String, String>,
    /// Given on the command line.
    pub(crate) flags: &'a BTreeMap<String, String>,
    /// The environment; `None` when only code and flags count, no file then either.
    pub(crate) environment: Option<Lookup<'a>>,
    /// Where `knarr.toml` is looked for when nothing names it.
    pub(crate) folder: &'a Path,
}

/// All values, or everything that is wrong at once.
pub(crate) fn found(asked: &Asked<'_>) -> Result<Values, Vec<Wrong>> {
    let mut wrongs: Vec<Wrong> = Vec::new();
    for name in asked.set.keys().chain(asked.flags.keys()) {
        if !asked.known.iter().any(|setting| setting.name == name) {
            wrongs.push(Wrong::new(name, "there is no such setting"));
        }
    }
    let file = file(asked).unwrap_or_else(|found| {
        wrongs.extend(found);
        BTreeMap::new()
    });
    let mut texts = BTreeMap::new();
    for setting in asked.known {
        match text(asked, &file, setting) {
            Ok(Some(text)) => {
                texts.insert(setting.name, text);
            }
            Ok(None) => {}
            Err(wrong) => wrongs.push(wrong),
        }
    }
    match wrongs.is_empty() {
        true => Ok(Values::new(asked.known, texts)),
        false => Err(wrongs),
    }
}

/// The file that is named, or the usual one if it is there.
fn file(asked: &Asked<'_>) -> Result<BTreeMap<String, String>, Vec<Wrong>> {
    const NAME: &str = "KNARR_CONFIG";
    let Some(environment) = asked.environment else { return Ok(BTreeMap::new()) };
    let named = [asked.set.get(NAME).cloned(), asked.flags.get(NAME).cloned(), environment(NAME)];
    let named = named.into_iter().flatten().find(|text| !text.trim().is_empty());
    let path = match named {
        Some(path) => PathBuf::from(path.trim()),
        None => {
            let usual = asked.folder.join("knarr.toml");
            if !usual.is_file() {
                return Ok(BTreeMap::new());
            }
            usual
        }
    };
    toml_file::read(&path, asked.known)
}

/// A setting's text from the first place that has one; blank counts as not set.
fn text(
    asked: &Asked<'_>,
    file: &BTreeMap<String, String>,
    setting: &Setting,
) -> Result<Option<String>, Wrong> {
    let given = |text: Option<&String>| text.map(|text| text.trim().to_owned());
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(text) = set(given(asked.set.get(setting.name))) {
        return Ok(Some(text));
    }
    if let Some(text) = set(given(asked.flags.get(setting.name))) {
        return Ok(Some(text));
    }
    let environment = |name: &str| {
        let text = asked.environment.and_then(|environment| environment(name));
        set(given(text.as_ref()))
    };
    let from_file = |key: &str| set(given(file.get(key)));
    let (key, file_name) = (setting.key(), setting.file_name());
    let layers = [
        (environment(setting.name), environment(&file_name)),
        (from_file(&key), from_file(&format!("{key}_file"))),
    ];
    for (plain, named) in layers {
        match (plain, named.filter(|_| setting.secret)) {
            (Some(_), Some(_)) => {
                let why = format!("{file_name} is set too; one of them is enough");
                return Err(Wrong::new(setting.name, why));
            }
            (Some(text), None) => return Ok(Some(text)),
            (None, Some(path)) => return secret_in(&file_name, Path::new(&path)).map(Some),
            (None, None) => {}
        }
    }
    Ok(None)
}

/// The secret that a file holds, without the line break at its end.
fn secret_in(name: &str, path: &Path) -> Result<String, Wrong> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Wrong::new(name, format!("cannot read {shown}: {error}")))?;
    match text.trim() {
        "" => Err(Wrong::new(name, format!("{shown} is empty"))),
        text => Ok(text.to_owned()),
    }
}
