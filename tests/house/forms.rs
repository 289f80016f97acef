//! The form of each Rust file: its first line, its doors, its words, its attributes, its `select!`s.

use std::collections::BTreeMap;

use proc_macro2::TokenTree;
use quote::ToTokens as _;
use syn::visit::{self, Visit};

use crate::modules::{attributes, is_door, is_for_tests};
use crate::repo::{Repo, must_be_none};

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: &[&str] = &[
    "Job",
    "Worker",
    "Manager",
    "Handler",
    "Processor",
    "Helper",
    "Helpers",
    "Util",
    "Utils",
    "Common",
    "Misc",
];

/// The first line says what the file is for.
fn first_line(path: &str, text: &str) -> Option<String> {
    let line = text.lines().next().unwrap_or_default();
    let said = line.strip_prefix("//! ").unwrap_or_default();
    (said.split_whitespace().count() < 3).then(|| {
        format!(
            "{path}: begins with `{line}`. Its first line is `//!` and one sentence that tells a \
             newcomer what the file is for."
        )
    })
}

/// `lib.rs` and `mod.rs` hold documentation, `mod` lines and `use` lines.
fn door(path: &str, tree: &syn::File) -> Vec<String> {
    fn inside(items: &[syn::Item], found: &mut Vec<String>) {
        for item in items {
            match item {
                syn::Item::Mod(module) => {
                    // A module in braces may only gather names, as `__private` does.
                    match &module.content {
                        Some((_, items)) if !is_for_tests(&module.attrs) => inside(items, found),
                        _ => {}
                    }
                }
                syn::Item::Use(_) | syn::Item::ExternCrate(_) => {}
                // Derives must stand in the root of their crate; they hand on at once.
                syn::Item::Fn(function) if is_derive(function) && lines_of(function) <= 8 => {}
                other => {
                    let text = other.to_token_stream().to_string();
                    found.push(text.chars().take(60).collect());
                }
            }
        }
    }
    // Beside integration tests `support/mod.rs` is the only name that cargo takes for no test.
    if !is_door(path) || path.contains("/tests/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    inside(&tree.items, &mut found);
    let sentence = |text: String| {
        format!("{path}: holds `{text} …`; a door holds `mod` and `pub use`. Give it a file.")
    };
    found.into_iter().map(sentence).collect()
}

fn is_derive(function: &syn::ItemFn) -> bool {
    function.attrs.iter().any(|attribute| {
        let name = attribute.path().get_ident().map(ToString::to_string).unwrap_or_default();
        name.starts_with("proc_macro")
    })
}

fn lines_of(function: &syn::ItemFn) -> usize {
    let brace = function.block.brace_token.span;
    brace.close().end().line - brace.open().start().line + 1
}

/// What the visitor finds in one file.
struct Forms<'a> {
    path: &'a str,
    found: Vec<String>,
}

impl Forms<'_> {
    fn say(&mut self, line: usize, what: &str) {
        self.found.push(format!("{}:{line}: {what}", self.path));
    }

    fn name(&mut self, ident: &syn::Ident) {
        let name = ident.to_string();
        let words = words_of(&name);
        let task = words.iter().any(|word| word == "Task") && name != "ActivityTask";
        let empty = words.iter().find(|word| EMPTY_WORDS.contains(&word.as_str()));
        let empty = empty.map(String::as_str).or(task.then_some("Task"));
        if let Some(word) = empty {
            let line = ident.span().start().line;
            self.say(
                line,
                &format!("`{name}`: `{word}` says nothing; name it after what it is or does."),
            );
        }
    }
}

/// The words of a name in camel case.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        if letter.is_uppercase() || words.is_empty() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words
}

impl<'ast> Visit<'ast> for Forms<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Struct(it) => self.name(&it.ident),
            syn::Item::Enum(it) => self.name(&it.ident),
            syn::Item::Trait(it) => self.name(&it.ident),
            syn::Item::Type(it) => self.name(&it.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = attribute.pound_token.span.start().line;
        let path = attribute.path().get_ident().map(ToString::to_string).unwrap_or_default();
        let inside = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        let holds = |word: &str| {
            inside.split(|c: char| !c.is_alphanumeric() && c != '_').any(|have| have == word)
        };
        if path == "ignore" || path == "cfg_attr" && holds("ignore") {
            self.say(
                line,
                "`#[ignore]`: a test runs or is deleted; long runs get their own command.",
            );
        }
        if path == "allow" || path == "cfg_attr" && holds("allow") {
            self.say(
                line,
                "`#[allow]`: write `#[expect(.., reason = \"…\")]`, which ends with its cause.",
            );
        }
        if path == "expect" && !holds("reason") {
            self.say(line, "`#[expect]` without a reason: say why it is right here.");
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|it| it.ident.to_string()).unwrap_or_default();
        let first = call.tokens.clone().into_iter().next();
        let biased = matches!(&first, Some(TokenTree::Ident(ident)) if ident == "biased");
        if name == "select" && !biased {
            let line = call.path.segments[0].ident.span().start().line;
            self.say(
                line,
                "`select!` picks at random; begin it with `biased;`, or no seed repeats its run.",
            );
        }
        visit::visit_macro(self, call);
    }
}

/// Files and folders are not called after nothing either.
fn file_name(path: &str) -> Option<String> {
    let empty = |part: &str| {
        let stem = part.trim_end_matches(".rs");
        let parts = stem.split(['_', '-']);
        parts
            .into_iter()
            .any(|word| EMPTY_WORDS.iter().any(|empty| empty.eq_ignore_ascii_case(word)))
    };
    path.split('/')
        .find(|part| empty(part))
        .map(|part| format!("{path}: `{part}` says nothing; name it after what is inside."))
}

fn findings(texts: &BTreeMap<String, String>, trees: &BTreeMap<String, syn::File>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in texts {
        found.extend(first_line(path, text));
        found.extend(file_name(path));
        let Some(tree) = trees.get(path) else { continue };
        found.extend(door(path, tree));
        let mut forms = Forms { path, found: Vec::new() };
        forms.visit_file(tree);
        found.extend(forms.found);
    }
    found
}

#[test]
fn every_file_has_the_form_of_the_house() {
    let repo = Repo::read();
    must_be_none(&findings(&repo.texts, &repo.trees));
}

#[test]
fn the_binary_starts_in_a_page() {
    let repo = Repo::read();
    let lines = repo.texts["crates/cli/src/main.rs"].lines().count();
    assert!(
        lines < 60,
        "crates/cli/src/main.rs has {lines} lines: move what it does behind verbs."
    );
}

#[test]
fn items_of_a_file_are_really_visited() {
    let repo = Repo::read();
    let attributed = repo.trees["crates/model/src/ids.rs"].items.iter().map(attributes);
    assert!(attributed.flatten().count() > 3);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::parse_all;

    fn of(path: &str, text: &str) -> Vec<String> {
        let texts = BTreeMap::from([(path.to_owned(), text.to_owned())]);
        findings(&texts, &parse_all(&texts))
    }

    const HEAD: &str = "//! Says what it is for.\n";

    #[test]
    fn good_files_pass() {
        for (path, text) in [
            (
                "crates/a/src/lib.rs",
                "mod x; pub use x::Y; #[doc(hidden)] pub mod __private { pub use z; }",
            ),
            ("crates/a/src/lib.rs", "#[proc_macro_derive(A)]\npub fn a(i: T) -> T { x::y(i) }"),
            ("crates/a/tests/support/mod.rs", "pub(crate) fn f() {}"),
            ("crates/a/src/lane.rs", "struct Lane; struct ActivityTask; struct JobberyPrice;"),
            (
                "crates/a/src/lane.rs",
                "#[expect(dead_code, reason = \"x\")] fn f() { select! { biased; a => {} } }",
            ),
        ] {
            assert_eq!(of(path, &format!("{HEAD}{text}")), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn each_fault_is_found_alone() {
        for (path, text, expected) in [
            ("crates/a/src/lib.rs", "pub fn f() {}", "a door holds"),
            ("crates/a/src/x/mod.rs", "pub(crate) const X: u8 = 1;", "a door holds"),
            ("crates/a/src/lib.rs", "mod inner { struct X; }", "a door holds"),
            ("crates/a/src/x.rs", "struct QueueManager;", "`Manager` says nothing"),
            ("crates/a/src/x.rs", "enum TimerTask {}", "`Task` says nothing"),
            ("crates/a/src/x.rs", "mod y { type FileUtil = u8; }", "`Util` says nothing"),
            ("crates/a/src/x.rs", "#[allow(dead_code)] fn f() {}", "`#[allow]`"),
            ("crates/a/src/x.rs", "#![allow(dead_code)]", "`#[allow]`"),
            ("crates/a/src/x.rs", "#[cfg_attr(test, allow(dead_code))] fn f() {}", "`#[allow]`"),
            ("crates/a/src/x.rs", "#[test] #[ignore] fn f() {}", "`#[ignore]`"),
            ("crates/a/src/x.rs", "#[expect(dead_code)] fn f() {}", "without a reason"),
            ("crates/a/src/x.rs", "fn f() { tokio::select! { a => {} } }", "`select!`"),
            ("crates/a/src/helpers/x.rs", "", "`helpers` says nothing"),
            ("crates/a/src/retry_util.rs", "", "`retry_util.rs` says nothing"),
        ] {
            let found = of(path, &format!("{HEAD}{text}"));
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_file_without_its_sentence_is_found() {
        for text in ["", "use std::fmt;", "//!", "//! Retry.", "// Says what it is for."] {
            assert_eq!(of("crates/a/src/x.rs", text).len(), 1, "{text}");
        }
    }
}
