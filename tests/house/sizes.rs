//! Long files and functions: the list is printed, and beyond 800 lines a file fails.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use crate::repo::{Repo, must_be_none};

/// Beyond this a reviewer asks which second thing lives in the file.
const LONG_FILE: usize = 400;
/// Beyond this it has to be split.
const LONGEST_FILE: usize = 800;
/// Beyond this a reviewer asks which second thing the function does.
const LONG_FUNCTION: usize = 70;

fn files_over(texts: &BTreeMap<String, String>, lines: usize) -> Vec<String> {
    let long = texts.iter().map(|(path, text)| (text.lines().count(), path));
    let mut long: Vec<_> = long.filter(|(count, _)| *count > lines).collect();
    long.sort_by(|a, b| b.cmp(a));
    long.into_iter().map(|(count, path)| format!("{path}: {count} lines")).collect()
}

#[derive(Default)]
struct Functions {
    found: Vec<(usize, String, usize)>,
}

impl Functions {
    fn note(&mut self, name: &syn::Ident, block: &syn::Block) {
        let start = name.span().start().line;
        let lines = block.brace_token.span.close().end().line - start + 1;
        self.found.push((lines, name.to_string(), start));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.note(&function.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn functions_over(trees: &BTreeMap<String, syn::File>, lines: usize) -> Vec<String> {
    let mut long = Vec::new();
    for (path, tree) in trees {
        let mut functions = Functions::default();
        functions.visit_file(tree);
        long.extend(functions.found.into_iter().map(|(count, name, at)| (count, path, name, at)));
    }
    long.retain(|(count, ..)| *count > lines);
    long.sort_by(|a, b| b.cmp(a));
    let sentence = |(count, path, name, at): (usize, &String, String, usize)| {
        format!("{path}:{at}: `{name}` {count} lines")
    };
    long.into_iter().map(sentence).collect()
}

#[test]
fn long_files_and_functions_are_listed() {
    let repo = Repo::read();
    let listed = [
        (format!("files over {LONG_FILE} lines"), files_over(&repo.texts, LONG_FILE)),
        (
            format!("functions over {LONG_FUNCTION} lines"),
            functions_over(&repo.trees, LONG_FUNCTION),
        ),
    ];
    for (what, found) in listed {
        println!(
            "{what}: {}",
            if found.is_empty() { "none" } else { "which second thing lives there?" }
        );
        for line in found {
            println!("  {line}");
        }
    }
}

#[test]
fn no_file_is_longer_than_anyone_reads() {
    let long = files_over(&Repo::read().texts, LONGEST_FILE);
    let split = |line: String| format!("{line}; split it by purpose ({LONGEST_FILE} at most).");
    must_be_none(&long.into_iter().map(split).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::parse_all;

    #[test]
    fn lines_are_counted() {
        let text = format!("fn short() {{}}\nimpl X {{ fn long() {{{}}} }}\n", "\n".repeat(80));
        let texts = BTreeMap::from([("a.rs".to_owned(), text)]);
        assert_eq!(files_over(&texts, 82), Vec::<String>::new());
        assert_eq!(files_over(&texts, 81), ["a.rs: 82 lines"]);
        assert_eq!(functions_over(&parse_all(&texts), 70), ["a.rs:2: `long` 81 lines"]);
        assert!(functions_over(&parse_all(&texts), 81).is_empty());
    }
}
