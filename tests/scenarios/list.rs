//! Reads the list of scenarios: id, title, answer and its reason, one a line, under theme headings.

/// Where the list lies, from the root of the repository.
pub const LIST: &str = "tests/scenarios/list.tsv";

/// What we say to a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A test has to prove it.
    Prove,
    /// It needs a part that is not built yet; the note names it.
    Later,
    /// We do not offer it; the note says why.
    NotOffered,
}

/// One scenario of a peer's test suite, in our words.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// `PE-085`, `MT-213`.
    pub id: String,
    /// What has to hold.
    pub title: String,
    /// What we say to it.
    pub answer: Answer,
    /// Where a test belongs, which part is missing, or why it is not offered.
    pub note: String,
}

/// Scenarios that belong together.
#[derive(Clone, Debug)]
pub struct Theme {
    /// The heading.
    pub name: String,
    /// Its scenarios, in the list's order.
    pub scenarios: Vec<Scenario>,
}

/// Reads the list; a heading is a line that begins with `# `.
///
/// # Errors
/// The number of the first line that cannot be read, and why.
pub fn parse(text: &str) -> Result<Vec<Theme>, String> {
    let mut themes: Vec<Theme> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let bad = |why: &str| format!("line {number}: {why}: {line}");
        if let Some(name) = line.strip_prefix("# ") {
            themes.push(Theme { name: name.to_owned(), scenarios: Vec::new() });
            continue;
        }
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, title, answer, note] = columns[..] else {
            return Err(bad("four columns are wanted: id, title, answer, note"));
        };
        let answer = match answer {
            "prove" => Answer::Prove,
            "later" => Answer::Later,
            "not-offered" => Answer::NotOffered,
            _ => return Err(bad("the answer is `prove`, `later` or `not-offered`")),
        };
        if title.is_empty() || note.is_empty() {
            return Err(bad("title and note must not be empty"));
        }
        if !known.insert(id.to_owned()) {
            return Err(bad("this id stands in the list already"));
        }
        let theme = themes.last_mut().ok_or_else(|| bad("a heading must come first"))?;
        let (id, title, note) = (id.to_owned(), title.to_owned(), note.to_owned());
        theme.scenarios.push(Scenario { id, title, answer, note });
    }
    Ok(themes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_scenarios_under_their_heading() {
        let themes = parse("# A\nPE-001\tOne\tprove\tunit\n# B\nMT-002\tTwo\tlater\tx\n");
        let themes = themes.expect("a good list");
        assert_eq!(themes.len(), 2);
        assert_eq!(themes[0].scenarios[0].answer, Answer::Prove);
        assert_eq!(themes[1].scenarios[0].id, "MT-002");
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line() {
        let cases = [
            ("# A\nPE-001\tOne\tprove", "four columns"),
            ("# A\nPE-001\tOne\tmaybe\tx", "`prove`"),
            ("# A\nPE-001\tOne\tlater\t", "must not be empty"),
            ("# A\nPE-001\tOne\tlater\tx\nPE-001\tOne\tlater\tx", "already"),
            ("PE-001\tOne\tlater\tx", "heading"),
        ];
        for (text, why) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("line ") && error.contains(why), "{error}");
        }
    }
}
