//! Requirements and scenarios are named by the tests that prove them, and docs/scenarios.md says so.

use knarr_tests::{scenarios, source};

use crate::repo::must_be_none_once_due;

/// What the first delivery promises, as numbered in the founding documents.
const PROMISED: &[&str] = &[
    "s0_02", "s0_03", "s0_04", "s0_05", "s0_06", "s0_07", "s0_08", "s0_09", "s0_10", "s0_11",
    "s0_15", "s0_17", "s0_18",
];

/// Whether a promise without its test fails, or is only printed while its part is being built.
const PROMISES_ARE_DUE: bool = true;

/// Whether an open scenario or a stale page fails, or is only printed.
const SCENARIOS_ARE_DUE: bool = true;

/// Promised ids that no test names. `s0_02` is named by `s0_02_and_the_rest`.
fn unnamed<'a>(promised: &[&'a str], tests: &[&str]) -> Vec<&'a str> {
    let names = |id: &str, test: &str| {
        test.match_indices(id).any(|(at, _)| {
            let before = test[..at].ends_with('_') || at == 0;
            let after = test[at + id.len()..].starts_with('_');
            before && after
        })
    };
    let missing = promised.iter().filter(|id| !tests.iter().any(|test| names(id, test)));
    missing.copied().collect()
}

#[test]
fn every_promised_requirement_is_named_by_a_test() {
    let proofs = source::proofs(&source::rust_files(&source::root()));
    let names: Vec<&str> = proofs.iter().map(|proof| &*proof.name).collect();
    let sentence = |id: &str| {
        format!("no test names {id}: call the one that proves it `{id}_…`, or write it.")
    };
    let findings: Vec<String> = unnamed(PROMISED, &names).into_iter().map(sentence).collect();
    must_be_none_once_due(&findings, PROMISES_ARE_DUE);
}

#[test]
fn every_scenario_has_its_answer_and_the_page_is_fresh() {
    let root = source::root();
    let list = std::fs::read_to_string(root.join(scenarios::LIST)).expect("the list is there");
    let themes = scenarios::parse(&list).unwrap_or_else(|why| panic!("{}: {why}", scenarios::LIST));
    let proofs = source::proofs(&source::rust_files(&root));
    let report = scenarios::report(&themes, &proofs);
    let open = |id: &String| {
        format!("{id}: no test proves it. Name one after it, or answer it in {}.", scenarios::LIST)
    };
    let mut findings: Vec<String> = report.unanswered.iter().map(open).collect();
    findings.extend(report.wrong);
    let page = std::fs::read_to_string(root.join(scenarios::PAGE)).unwrap_or_default();
    if page != scenarios::render(&themes, &proofs) {
        findings.push(format!("{} is stale: run `cargo scenarios`.", scenarios::PAGE));
    }
    must_be_none_once_due(&findings, SCENARIOS_ARE_DUE);
}

/// The themes that have to be answered, with the number of their scenarios: nobody may shorten the
/// list in silence.
#[test]
fn the_list_holds_every_scenario_of_its_themes() {
    let list = std::fs::read_to_string(source::root().join(scenarios::LIST)).expect("the list");
    let themes = scenarios::parse(&list).expect("a good list");
    let counts: Vec<usize> = themes.iter().map(|theme| theme.scenarios.len()).collect();
    assert_eq!(counts, [18, 18, 18, 17, 9, 17], "a scenario was lost from {}", scenarios::LIST);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_named_by_whole_words_only() {
        let tests = ["s0_02_over_rabbitmq", "a_s0_03_in_the_middle", "s0_044_other", "xs0_05_y"];
        let missing = unnamed(&["s0_02", "s0_03", "s0_04", "s0_05"], &tests);
        assert_eq!(missing, ["s0_04", "s0_05"]);
    }
}
