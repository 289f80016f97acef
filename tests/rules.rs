//! The rules of the guard, and the tests that hold each of them.

use std::collections::BTreeSet;

/// Where the list lies, from the root of the repository.
pub const RULES: &str = "tests/scenarios/guard.tsv";

/// One rule of the design page, in a sentence.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `G-07`.
    pub id: String,
    /// What has to hold.
    pub text: String,
    /// Who holds it.
    pub held: Held,
}

/// Who holds a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Tests of these names.
    By(Vec<String>),
    /// The part is not built yet.
    Open(String),
}

/// Reads the list: id, rule, and names of tests or `open: ` and the missing part, one a line; a
/// heading begins with `# `.
///
/// # Errors
/// The number of the first line that cannot be read, and why.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with("# ")) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, text, held] = columns[..] else {
            return Err(format!("line {number}: three columns are wanted: id, rule, tests"));
        };
        if *id != format!("G-{:02}", rules.len() + 1) {
            return Err(format!("line {number}: the next id is G-{:02}", rules.len() + 1));
        }
        let held = match held.strip_prefix("open: ") {
            Some(part) => Held::Open(part.to_owned()),
            None => Held::By(held.split(' ').map(str::to_owned).collect()),
        };
        rules.push(Rule { id: id.to_owned(), text: text.to_owned(), held });
    }
    Ok(rules)
}

/// Rules whose tests are not there.
pub fn findings(rules: &[Rule], tests: &BTreeSet<&str>) -> Vec<String> {
    let mut findings = Vec::new();
    for rule in rules {
        let Held::By(names) = &rule.held else { continue };
        for name in names.iter().filter(|name| !tests.contains(name.as_str())) {
            findings.push(format!("{}: there is no test `{name}`; see {RULES}.", rule.id));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_its_test_is_told_and_an_open_one_is_not() {
        let text = "# A\nG-01\tOne\ta_test another\nG-02\tTwo\topen: a part\n";
        let rules = parse(text).expect("a good list");
        let found = findings(&rules, &BTreeSet::from(["a_test"]));
        assert_eq!(found, [format!("G-01: there is no test `another`; see {RULES}.")]);
        assert_eq!(rules[1].held, Held::Open("a part".to_owned()));
    }

    #[test]
    fn ids_come_in_their_order_and_lines_have_three_columns() {
        for text in ["G-02\tOne\ta", "G-01\tOne", "G-01\tOne\ta\nG-01\tOne\ta"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
