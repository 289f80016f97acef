//! docs/ARCHITECTURE.md is a picture of the house: these tests fail when it lies.

use std::collections::BTreeSet;

use quote::ToTokens as _;

use crate::repo::{Repo, must_be_none};
use crate::walls::{RESERVED, WALLS};

const PAGE: &str = "docs/ARCHITECTURE.md";

/// The cells of the table below a heading, its head left out, backticks removed.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let mut lines = page.lines().skip_while(|line| line.trim_end() != heading).skip(1);
    let rows = lines.by_ref().take_while(|line| !line.starts_with("## "));
    let rows = rows.filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| {
        let cells = line.trim().trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

fn words(cell: &str) -> BTreeSet<String> {
    let words = cell.split(',').map(|word| word.trim().to_owned());
    words.filter(|word| !word.is_empty() && word != "–").collect()
}

fn listed(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

type Row = (u8, String, BTreeSet<String>);

/// The walls as the page draws them: floor, crate, what it is for, what it may use.
fn walls_drawn(page: &str) -> Vec<Row> {
    let rows = table(page, "## Walls");
    let row = |cells: Vec<String>| match &cells[..] {
        [floor, name, _, uses] => (floor.parse().unwrap_or(0), name.clone(), words(uses)),
        other => panic!("a row of ## Walls has {} cells instead of 4: {other:?}", other.len()),
    };
    rows.into_iter().map(row).collect()
}

/// Differences between what is drawn and what holds.
fn differences(drawn: &[Row], holds: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for (floor, name, uses) in holds {
        match drawn.iter().find(|row| row.1 == *name) {
            None => found.push(format!("{PAGE}: `{name}` is missing from ## Walls.")),
            Some(row) if row.0 != *floor => found.push(format!(
                "{PAGE}: `{name}` is drawn on floor {} and stands on {floor}.",
                row.0
            )),
            Some(row) if row.2 != *uses => found.push(format!(
                "{PAGE}: `{name}` is drawn as using {:?} and may use {uses:?}.",
                row.2
            )),
            Some(_) => {}
        }
    }
    for (_, name, _) in drawn {
        if !holds.iter().any(|row| row.1 == *name) {
            found.push(format!("{PAGE}: ## Walls shows `{name}`, which does not exist."));
        }
    }
    if drawn.len() > holds.len() {
        found.push(format!("{PAGE}: ## Walls shows a crate twice."));
    }
    found
}

#[test]
fn the_walls_are_drawn_as_they_stand() {
    let page = &std::fs::read_to_string(Repo::read().root.join(PAGE)).expect("the page is there");
    let holds: Vec<Row> =
        WALLS.iter().map(|it| (it.floor, it.name.to_owned(), listed(it.may_use))).collect();
    must_be_none(&differences(&walls_drawn(page), &holds));
}

#[test]
fn the_reserved_crates_are_drawn_as_they_are() {
    let page = std::fs::read_to_string(Repo::read().root.join(PAGE)).expect("the page is there");
    let drawn: BTreeSet<(BTreeSet<String>, BTreeSet<String>)> = table(&page, "## Reserved crates")
        .into_iter()
        .map(|cells| (words(&cells[0]), words(&cells[1])))
        .collect();
    let holds: BTreeSet<_> =
        RESERVED.iter().map(|it| (listed(it.crates), listed(it.may_use))).collect();
    let lost: Vec<String> = holds
        .symmetric_difference(&drawn)
        .map(|row| format!("{PAGE}: ## Reserved crates and RESERVED (walls.rs) differ in {row:?}."))
        .collect();
    must_be_none(&lost);
}

/// The way of a message: each station's file must exist and hold the word named beside it.
fn way(page: &str, repo: &Repo) -> Vec<String> {
    let rows = table(page, "## One message's way");
    let mut found = Vec::new();
    if rows.len() < 8 {
        found.push(format!("{PAGE}: ## One message's way shows {} stations only.", rows.len()));
    }
    for cells in rows {
        let [_, file, named, _] = &cells[..] else {
            found.push(format!("{PAGE}: a station has {} cells instead of 4.", cells.len()));
            continue;
        };
        let Some(tree) = repo.trees.get(file) else {
            found.push(format!("{PAGE}: the way leads through {file}, which does not exist."));
            continue;
        };
        let text = tree.to_token_stream().to_string();
        let has = |word: &String| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|it| it == word)
        };
        for word in words(named).iter().filter(|word| !has(word)) {
            found.push(format!("{PAGE}: {file} does not hold `{word}`, which the way names."));
        }
    }
    found
}

#[test]
fn the_way_of_a_message_leads_through_what_exists() {
    let repo = Repo::read();
    let page = std::fs::read_to_string(repo.root.join(PAGE)).expect("the page is there");
    must_be_none(&way(&page, &repo));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::parse_all;

    const SMALL: &str = "# A\n\n## Walls\n\nText.\n\n| floor | crate | for | may use |\n|--|--|--|--|\n\
                         | 1 | `a` | x | – |\n| 2 | `b` | x | `a` |\n\n## Next\n| 1 | `c` | x | – |\n";

    fn holds(rows: &[(u8, &str, &[&str])]) -> Vec<Row> {
        rows.iter().map(|(floor, name, uses)| (*floor, (*name).to_owned(), listed(uses))).collect()
    }

    #[test]
    fn a_true_picture_passes() {
        let truth = holds(&[(1, "a", &[]), (2, "b", &["a"])]);
        assert_eq!(differences(&walls_drawn(SMALL), &truth), Vec::<String>::new());
    }

    #[test]
    fn every_lie_is_found() {
        let lies = [
            (holds(&[(1, "a", &[]), (2, "b", &["a"]), (3, "c", &[])]), "missing"),
            (holds(&[(1, "a", &[])]), "does not exist"),
            (holds(&[(1, "a", &[]), (3, "b", &["a"])]), "stands on 3"),
            (holds(&[(1, "a", &[]), (2, "b", &[])]), "may use {}"),
            (holds(&[(1, "a", &["b"]), (2, "b", &["a"])]), "`a` is drawn as using {}"),
        ];
        for (truth, expected) in lies {
            let found = differences(&walls_drawn(SMALL), &truth);
            assert!(found.iter().any(|it| it.contains(expected)), "{expected}: {found:?}");
        }
        assert!(!differences(&[], &holds(&[(1, "a", &[])])).is_empty());
    }

    #[test]
    fn a_station_that_is_not_there_is_found() {
        let texts = [("a.rs".to_owned(), "//! A.\nfn decide() {}".to_owned())].into();
        let trees = parse_all(&texts);
        let repo = Repo { root: "/".into(), packages: Vec::new(), texts, trees };
        let page = |file: &str, named: &str| {
            let row = format!("| 1 | `{file}` | `{named}` | x |\n");
            format!("## One message's way\n| a | b | c | d |\n|--|--|--|--|\n{}", row.repeat(8))
        };
        assert!(way(&page("a.rs", "decide"), &repo).is_empty());
        assert!(way(&page("a.rs", "deciding"), &repo)[0].contains("does not hold"));
        assert!(way(&page("b.rs", "decide"), &repo)[0].contains("does not exist"));
        assert!(way("", &repo)[0].contains("0 stations"));
    }
}
