//! Every line that is logged as a warning or an error is explained to operators, and no other.

use std::collections::{BTreeMap, BTreeSet};

use knarr_tests::source;
use proc_macro2::{TokenStream, TokenTree};

use crate::repo::must_be_none;

/// Where operators look lines up.
const PAGE: &str = "docs/operations.md";

/// A line: its level, and its text with `…` for what is different each time.
type Line = (String, String);

/// What our programs log while they serve, with the file it stands in.
fn logged(files: &BTreeMap<String, String>) -> BTreeMap<Line, String> {
    let mut found = BTreeMap::new();
    for (path, text) in files {
        let runs = (path.starts_with("crates/") || path.starts_with("sagas/"))
            && path.contains("/src/")
            && !path.starts_with("crates/testkit/")
            && !path.starts_with("crates/host/src/bench/")
            && !path.ends_with("/tests.rs");
        let Some(tokens) = runs.then(|| text.parse::<TokenStream>().ok()).flatten() else {
            continue;
        };
        scan(tokens, &mut |line| {
            found.insert(line, path.clone());
        });
    }
    found
}

/// Reports what `warn!` and `error!` are given, also inside other macros; tests are left out.
fn scan(tokens: TokenStream, report: &mut dyn FnMut(Line)) {
    // The last two tokens, as far as they matter.
    let (mut word, mut called) = (String::new(), None);
    let mut in_tests = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                in_tests = word == "mod" && ident == "tests";
                word = ident.to_string();
                called = None;
            }
            TokenTree::Punct(punct) if punct.as_char() == '!' && !word.is_empty() => {
                called = matches!(&*word, "warn" | "error").then(|| word.to_uppercase());
                word = String::new();
            }
            TokenTree::Group(group) => {
                match called.take() {
                    Some(level) => report((level, said(group.stream()))),
                    None if in_tests => {}
                    None => scan(group.stream(), report),
                }
                (word, in_tests) = (String::new(), false);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => (word, called) = (String::new(), None),
        }
    }
}

/// The text among the arguments: the first one that is a literal alone, not the value of a field.
fn said(arguments: TokenStream) -> String {
    let mut first = true;
    for token in arguments {
        match token {
            TokenTree::Literal(literal) if first => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                return text.map(|text| shortened(&text.value())).unwrap_or_default();
            }
            TokenTree::Punct(punct) => first = punct.as_char() == ',',
            _ => first = false,
        }
    }
    String::new()
}

/// `cannot read {path}: {error}` as `cannot read …: …`.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '{' => {
                inside = true;
                short.push('…');
            }
            '}' => inside = false,
            letter if !inside => short.push(letter),
            _ => {}
        }
    }
    short
}

/// Rows of the page's tables whose first cell is a level: ``| WARN | `line` | … |``.
fn explained(page: &str) -> BTreeSet<Line> {
    let row = |line: &str| {
        let (level, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        let (text, rest) = rest.split_once("` | ")?;
        let whole = rest.split(" | ").count() == 2 && rest.ends_with(" |");
        matches!(level, "WARN" | "ERROR").then_some(())?;
        whole.then(|| (level.to_owned(), text.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

fn findings(files: &BTreeMap<String, String>, page: &str) -> Vec<String> {
    let (logged, explained) = (logged(files), explained(page));
    let mut found = Vec::new();
    for (line, path) in &logged {
        let (level, text) = line;
        // A line that says only what it is given cannot be looked up.
        if text.chars().filter(|letter| letter.is_alphabetic()).count() < 8 {
            found.push(format!("{path}: {level} `{text}` says too little to be found in {PAGE}."));
        } else if !explained.contains(line) {
            found.push(format!(
                "{path}: {level} `{text}` is not explained: {PAGE} needs a row \
                 `| {level} | {text} | what it means | what to do |`, the text in backticks."
            ));
        }
    }
    let gone = explained.iter().filter(|line| !logged.contains_key(*line));
    found.extend(gone.map(|(level, text)| format!("{PAGE}: nothing logs {level} `{text}`.")));
    found
}

#[test]
fn every_warning_and_error_is_explained_to_operators() {
    let root = source::root();
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    must_be_none(&findings(&source::rust_files(&root), &page));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, page: &str) -> Vec<String> {
        let files = BTreeMap::from([("crates/a/src/x.rs".to_owned(), text.to_owned())]);
        findings(&files, page)
    }

    #[test]
    fn lines_are_found_with_fields_in_macros_and_over_several_lines() {
        let page = "| WARN | `the queue … is gone` | It was deleted. | Nothing. |";
        for text in [
            "fn f() { tracing::warn!(%error, queue = 3, \"the queue {name} is gone\"); }",
            "fn f() { select! { biased; x => { warn!(a = \"b\", \"the queue {} is gone\", x) } } }",
            "fn f() { tracing::warn!(\n\"the \\\n queue {name:?} is gone\"); }",
        ] {
            assert_eq!(of(text, page), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_is_missing_on_either_side_is_found() {
        let text = "fn f() { tracing::error!(\"the broker is away\"); }";
        assert!(of(text, "")[0].contains("is not explained"));
        for page in [
            "| WARN | `the broker is away` | a | b |",
            "| ERROR | `the broker is gone` | a | b |",
            "| ERROR | `the broker is away` | a |",
        ] {
            assert!(!of(text, page).is_empty(), "{page}");
        }
        assert_eq!(of(text, "| ERROR | `the broker is away` | a | b |").len(), 0);
        assert!(of("fn f() { error!(\"{error}\") }", "")[0].contains("says too little"));
        assert!(
            of("fn f() {}", "| WARN | `nothing says so` | a | b |")[0].contains("nothing logs")
        );
    }

    #[test]
    fn tests_and_other_macros_are_left_out() {
        for text in [
            "mod tests { fn f() { tracing::warn!(\"only in a test\"); } }",
            "fn f() { tracing::info!(\"all is well with it\"); format!(\"warn! is no call\") }",
            "// warn!(\"said in a comment\")",
        ] {
            assert_eq!(of(text, ""), Vec::<String>::new(), "{text}");
        }
    }
}
