//! Requirements and scenarios are named by the tests that prove them, and docs/scenarios.md says so.

use std::collections::BTreeSet;

use knarr_tests::{rules, scenarios, source};

use crate::repo::must_be_none_once_due;

/// What the first delivery promises, as numbered in the founding documents.
const PROMISED: &[&str] = &[
    "s0_01", "s0_02", "s0_03", "s0_04", "s0_05", "s0_06", "s0_07", "s0_08", "s0_09", "s0_10",
    "s0_11", "s0_12", "s0_13", "s0_14", "s0_15", "s0_16", "s0_17", "s0_18", "s0_19",
];

/// Rows of the failure list (reliability) that the guard, the doors, and what is sent to them answer.
const ROWS: &[&str] = &[
    "row_001", "row_002", "row_003", "row_004", "row_005", "row_006", "row_007", "row_008",
    "row_009", "row_010", "row_011", "row_013", "row_014", "row_017", "row_018", "row_019",
    "row_020", "row_021", "row_022", "row_023", "row_024", "row_025", "row_026", "row_027",
    "row_028", "row_029", "row_030", "row_031", "row_032", "row_035", "row_036", "row_037",
    "row_038", "row_039", "row_040", "row_041", "row_042", "row_043", "row_044", "row_045",
    "row_046", "row_047", "row_048", "row_049", "row_050", "row_051", "row_052", "row_053",
    "row_054", "row_055", "row_056", "row_057", "row_058", "row_063", "row_064", "row_065",
    "row_066", "row_067", "row_068", "row_069", "row_070", "row_071", "row_072", "row_073",
    "row_074", "row_075", "row_076", "row_077", "row_080", "row_081", "row_082", "row_083",
    "row_084", "row_085", "row_086", "row_087", "row_088", "row_089", "row_090", "row_091",
    "row_092", "row_093", "row_094", "row_095", "row_096", "row_113",
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
    let promised = unnamed(PROMISED, &names).into_iter();
    let rows = unnamed(ROWS, &names).into_iter();
    let findings: Vec<String> = promised.chain(rows).map(sentence).collect();
    must_be_none_once_due(&findings, PROMISES_ARE_DUE);
}

/// Each rule of the guard, with the tests that hold it.
#[test]
fn every_rule_of_the_guard_is_held_by_a_test() {
    let root = source::root();
    let text = std::fs::read_to_string(root.join(rules::RULES)).expect("the rules are there");
    let rules = rules::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", rules::RULES));
    let proofs = source::proofs(&source::rust_files(&root));
    let names: BTreeSet<&str> = proofs.iter().map(|proof| &*proof.name).collect();
    must_be_none_once_due(&rules::findings(&rules, &names), PROMISES_ARE_DUE);
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
    assert_eq!(
        counts,
        [18, 18, 18, 17, 9, 17, 24, 22, 18, 39, 39],
        "a scenario was lost from {}",
        scenarios::LIST
    );
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
