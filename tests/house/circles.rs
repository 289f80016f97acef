//! No circle of files inside a crate, and no arrow between rooms that must not know each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Arrow, Crate};
use crate::repo::{Repo, must_be_none};

/// Rooms of one crate that never import each other.
const STRANGERS: &[(&str, &str)] = &[("crates/engine/src/receive", "crates/engine/src/dispatch")];

/// Files that need each other in a loop, each loop as one sentence.
fn circles(arrows: &[Arrow]) -> Vec<String> {
    let mut next: BTreeMap<&str, Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(&arrow.from).or_default().push(arrow);
    }
    let mut found: BTreeSet<Vec<&str>> = BTreeSet::new();
    let mut sentences = Vec::new();
    for start in next.keys() {
        let Some(way) = way_back(start, &next) else { continue };
        let mut members: Vec<&str> = way.iter().map(|arrow| &*arrow.from).collect();
        members.sort_unstable();
        if found.insert(members) {
            let steps: Vec<String> = way
                .iter()
                .map(|arrow| format!("{} uses {} of {}", arrow.from, arrow.path, arrow.to))
                .collect();
            sentences.push(format!(
                "a circle: {}. Move what both need into a file below them.",
                steps.join(", ")
            ));
        }
    }
    sentences
}

/// The shortest way from a file back to itself.
fn way_back<'a>(
    start: &'a str,
    next: &BTreeMap<&'a str, Vec<&'a Arrow>>,
) -> Option<Vec<&'a Arrow>> {
    let mut ways: Vec<Vec<&Arrow>> = next.get(start)?.iter().map(|arrow| vec![*arrow]).collect();
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let end = &*way[way.len() - 1].to;
            if end == start {
                return Some(way);
            }
            if seen.insert(end) {
                for arrow in next.get(end).into_iter().flatten() {
                    longer.push([&way[..], &[*arrow]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Arrows between rooms that must not know each other.
fn strangers(arrows: &[Arrow], rooms: &[(&str, &str)]) -> Vec<String> {
    let inside = |file: &str, room: &str| {
        file.strip_prefix(room).is_some_and(|rest| rest.starts_with(['/', '.']))
    };
    let between = |arrow: &&Arrow, (a, b): &(&str, &str)| {
        inside(&arrow.from, a) && inside(&arrow.to, b)
            || inside(&arrow.from, b) && inside(&arrow.to, a)
    };
    arrows
        .iter()
        .filter(|arrow| rooms.iter().any(|pair| between(arrow, pair)))
        .map(|arrow| {
            format!(
                "{} uses {} of {}: these rooms must not know each other. Let rows or a channel \
                 carry it, or move it to a file that both may use.",
                arrow.from, arrow.path, arrow.to
            )
        })
        .collect()
}

fn all_arrows(repo: &Repo) -> Vec<Arrow> {
    let crates = repo.packages.iter().flat_map(|package| &package.targets);
    let arrows: BTreeSet<Arrow> =
        crates.flat_map(|target| Crate::read(target, &repo.trees).arrows()).collect();
    // `pub(crate)` and `pub(super)` name a place to be seen from, not a thing that is used.
    arrows.into_iter().filter(|arrow| !matches!(&*arrow.path, "crate" | "super")).collect()
}

#[test]
fn no_files_of_a_crate_form_a_circle() {
    must_be_none(&circles(&all_arrows(&Repo::read())));
}

#[test]
fn receive_and_dispatch_do_not_know_each_other() {
    must_be_none(&strangers(&all_arrows(&Repo::read()), STRANGERS));
}

/// Below a manifest of its own that the workspace does not list, such as the crate that a test
/// builds as an outsider would.
fn is_of_another_workspace(repo: &Repo, path: &str) -> bool {
    let mut folders = path.match_indices('/').map(|(end, _)| &path[..end]);
    let manifest = |dir: &&str| repo.root.join(dir).join("Cargo.toml").exists();
    folders
        .rfind(manifest)
        .is_some_and(|dir| repo.packages.iter().all(|package| package.dir != dir))
}

#[test]
fn every_file_belongs_to_a_crate() {
    let repo = Repo::read();
    let mut known = BTreeSet::new();
    for target in repo.packages.iter().flat_map(|package| &package.targets) {
        known.extend(Crate::files(target, &repo.trees));
    }
    let lost: Vec<String> = repo
        .trees
        .keys()
        .filter(|path| !known.contains(*path) && !is_of_another_workspace(&repo, path))
        .map(|path| format!("{path}: no `mod` line leads to it. Add one, or delete the file."))
        .collect();
    must_be_none(&lost);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(pairs: &[(&str, &str)]) -> Vec<Arrow> {
        let arrow = |(from, to): &(&str, &str)| Arrow {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            path: format!("crate::{to}"),
        };
        pairs.iter().map(arrow).collect()
    }

    #[test]
    fn circles_of_two_and_of_three_are_found_once_each() {
        let found = circles(&arrows(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c")]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("a uses crate::b of b, b uses crate::a of a"), "{found:?}");
    }

    #[test]
    fn a_diamond_is_no_circle() {
        assert!(circles(&arrows(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])).is_empty());
    }

    #[test]
    fn rooms_that_must_not_know_each_other_are_told_apart_from_their_neighbours() {
        let rooms = [("src/receive", "src/dispatch")];
        let bad = arrows(&[
            ("src/receive/lane.rs", "src/dispatch/relay.rs"),
            ("src/dispatch.rs", "src/receive/lane.rs"),
        ]);
        assert_eq!(strangers(&bad, &rooms).len(), 2);
        let good = arrows(&[
            ("src/receive/lane.rs", "src/receive/batch.rs"),
            ("src/receivers.rs", "src/dispatch/relay.rs"),
            ("src/engine.rs", "src/dispatch/relay.rs"),
        ]);
        assert!(strangers(&good, &rooms).is_empty());
    }
}
