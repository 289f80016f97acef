//! Writes docs/scenarios.md from the list and the tests found, and says what is wrong with the two.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::list::{Answer, LIST, Scenario, Theme};
use crate::source::Proof;

/// Where the page lies, from the root of the repository.
pub const PAGE: &str = "docs/scenarios.md";

/// What the page cannot hide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Scenarios that a test should prove and none does.
    pub unanswered: Vec<String>,
    /// Sentences about answers that cannot be right.
    pub wrong: Vec<String>,
}

/// Compares the list with the tests found.
pub fn report(themes: &[Theme], proofs: &[Proof]) -> Report {
    let proofs = by_id(proofs);
    let scenarios: Vec<&Scenario> = themes.iter().flat_map(|theme| &theme.scenarios).collect();
    let mut report = Report::default();
    for scenario in &scenarios {
        let found = proofs.get(&scenario.id);
        match (scenario.answer, found) {
            (Answer::Prove, None) => report.unanswered.push(scenario.id.clone()),
            (Answer::Later | Answer::NotOffered, Some(found)) => report.wrong.push(format!(
                "{} has the test `{}` now: say `prove` in {}.",
                scenario.id, found[0].name, LIST
            )),
            _ => {}
        }
    }
    report
}

/// The whole page.
pub fn render(themes: &[Theme], proofs: &[Proof]) -> String {
    let found = by_id(proofs);
    let mut page = String::from(
        "# What the peers' test suites check, and what checks it here\n\n\
         Written by `cargo scenarios` from the names of our tests and from \
         [the list](../tests/scenarios/list.tsv); do not edit it by hand.\n\
         Each line is a behaviour that the test suite of a comparable product proves, told in our \
         words. *Proved*: the tests named here hold it. *Later*: it needs the part named. \
         *Not offered*: the reason stands beside it.\n",
    );
    let mut counts = [0usize; 4];
    let mut body = String::new();
    for theme in themes {
        let _infallible =
            write!(body, "\n## {}\n\n| | what must hold | answer |\n|---|---|---|\n", theme.name);
        for scenario in &theme.scenarios {
            let (kind, answer) = answer(scenario, found.get(&scenario.id).map(Vec::as_slice));
            counts[kind] += 1;
            let _infallible =
                writeln!(body, "| {} | {} | {answer} |", scenario.id, escaped(&scenario.title));
        }
    }
    let [proved, open, later, not_offered] = counts;
    let _infallible = write!(
        page,
        "\n{} scenarios: {proved} proved, {later} later, {not_offered} not offered{}.\n",
        counts.iter().sum::<usize>(),
        if open == 0 { String::new() } else { format!(", {open} still open") }
    );
    page + &body
}

fn answer(scenario: &Scenario, found: Option<&[&Proof]>) -> (usize, String) {
    match (scenario.answer, found) {
        (Answer::Prove, Some(found)) => {
            let tests: Vec<_> = found
                .iter()
                .map(|proof| format!("[`{}`](../{})", proof.name, proof.file))
                .collect();
            (0, format!("*proved*: {}", tests.join(", ")))
        }
        (Answer::Prove, None) => (1, format!("**open**: {}", escaped(&scenario.note))),
        (Answer::Later, _) => (2, format!("*later*: {}", escaped(&scenario.note))),
        (Answer::NotOffered, _) => (3, format!("*not offered*: {}", escaped(&scenario.note))),
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Tests by the scenario ids in their names; one name may hold several.
fn by_id(proofs: &[Proof]) -> BTreeMap<String, Vec<&Proof>> {
    let mut found: BTreeMap<String, Vec<&Proof>> = BTreeMap::new();
    for proof in proofs {
        let words: Vec<&str> = proof.name.split('_').collect();
        for pair in words.windows(2) {
            let [suite @ ("pe" | "mt"), number] = pair else { continue };
            if number.len() == 3 && number.bytes().all(|digit| digit.is_ascii_digit()) {
                let id = format!("{}-{number}", suite.to_uppercase());
                found.entry(id).or_default().push(proof);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::list::parse;
    use super::*;

    const SMALL: &str = "# One\nPE-001\tFirst\tprove\tunit\nPE-002\tSecond\tprove\tunit\n\
                        MT-003\tThird | last\tlater\tthe guard\nMT-004\tNever\tnot-offered\tno\n";

    fn proof(name: &str) -> Proof {
        Proof { name: name.to_owned(), file: "crates/a/src/b.rs".to_owned() }
    }

    #[test]
    fn an_unproved_scenario_is_reported_and_shown_as_open() {
        let themes = parse(SMALL).expect("a good list");
        let proofs = [proof("pe_001_first")];
        assert_eq!(report(&themes, &proofs).unanswered, ["PE-002"]);
        let page = render(&themes, &proofs);
        assert!(
            page.contains("| PE-001 | First | *proved*: [`pe_001_first`](../crates/a/src/b.rs) |")
        );
        assert!(page.contains("| PE-002 | Second | **open**: unit |"));
        assert!(page.contains("| MT-003 | Third \\| last | *later*: the guard |"));
        assert!(page.contains("4 scenarios: 1 proved, 1 later, 1 not offered, 1 still open."));
    }

    #[test]
    fn one_test_may_prove_several_scenarios() {
        let themes = parse(SMALL).expect("a good list");
        let report = report(&themes, &[proof("pe_001_pe_002_both_hold")]);
        assert_eq!(report, Report::default());
    }

    #[test]
    fn a_test_for_something_called_later_is_wrong() {
        let themes = parse(SMALL).expect("a good list");
        let proofs = [proof("pe_001_x"), proof("pe_002_y"), proof("mt_003_z")];
        let report = report(&themes, &proofs);
        assert!(report.unanswered.is_empty());
        assert!(report.wrong[0].contains("MT-003") && report.wrong[0].contains("mt_003_z"));
    }
}
