//! Every link in our documents leads somewhere, and every path they name exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use knarr_tests::source;

use crate::repo::must_be_none;

/// Text outside fenced code, line by line with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of `[text](target)` in a line, code spans left out.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut found = Vec::new();
    let mut rest = line.as_str();
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        let end = rest.find(')').unwrap_or(rest.len());
        found.push(rest[..end].split_whitespace().next().unwrap_or_default().to_owned());
    }
    found
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("_")
}

/// Paths of ours in code spans: `crates/model/src/commit.rs`.
fn named_paths(line: &str) -> Vec<&str> {
    let ours = ["crates/", "sagas/", "tests/", "docs/"];
    let concrete = |span: &&str| {
        ours.iter().any(|start| span.starts_with(start))
            && span.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
    };
    line.split('`').skip(1).step_by(2).filter(concrete).collect()
}

/// The anchor that a heading gets on the usual forges.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text).map(|(_, line)| line).filter(|line| line.starts_with('#')).map(anchor).collect()
}

fn findings(root: &Path, documents: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in documents {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in prose(text) {
            for target in targets(line) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
                let whole = if file.is_empty() { path.clone() } else { lead(folder, file) };
                let there = documents.contains_key(&whole) || root.join(&whole).exists();
                if !there {
                    found.push(format!("{path}:{number}: the link to `{target}` leads nowhere."));
                } else if !heading.is_empty() {
                    let page = documents.get(&whole).map(|text| anchors(text));
                    if page.is_some_and(|anchors| !anchors.contains(heading)) {
                        found
                            .push(format!("{path}:{number}: `{whole}` has no heading #{heading}."));
                    }
                }
            }
            for named in named_paths(line) {
                if !root.join(named).exists() {
                    found.push(format!(
                        "{path}:{number}: `{named}` does not exist (any more); name what is there."
                    ));
                }
            }
        }
    }
    found
}

/// A relative target from the root of the repository.
fn lead(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn links_and_paths_in_documents_lead_somewhere() {
    let root = source::root();
    let documents = source::files(&root, "md");
    assert!(documents.contains_key("docs/ARCHITECTURE.md"), "{:?}", documents.keys());
    must_be_none(&findings(&root, &documents));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let documents = BTreeMap::from([
            ("docs/A.md".to_owned(), text.to_owned()),
            ("docs/STYLE.md".to_owned(), "# Style\n## Why \"so\"?\n".to_owned()),
        ]);
        findings(&source::root(), &documents)
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let good = [
            "[a](STYLE.md) and [b](../tests/house.rs), [c](https://example.org/x)",
            "[a](STYLE.md#why-so) [self](#here)\n# Here",
            "`[a](nowhere.md)` is code, as is\n```\n[a](nowhere.md) `crates/none/x.rs`\n```",
            "`crates/model/src/lib.rs`, `crates/<product>/`, `sagas/*`",
        ];
        for text in good {
            assert_eq!(of(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn dead_links_anchors_and_paths_are_found() {
        for (text, expected) in [
            ("see [a](NOWHERE.md)", "leads nowhere"),
            ("see [a](../crates/none.rs)", "leads nowhere"),
            ("see [a](STYLE.md#gone)", "no heading #gone"),
            ("see [a](#gone)", "no heading #gone"),
            ("see `crates/none/src/x.rs`", "does not exist"),
        ] {
            let found = of(text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
    }
}
