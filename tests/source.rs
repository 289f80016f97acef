//! Reads our own Rust files and finds the tests in them by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The folder of the whole repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in a folder").to_owned()
}

/// Every Rust file of the repository, by its path from the root, with its text.
///
/// Left out are build folders, hidden folders, and the cases of compile-fail tests (`ui/`), which
/// are wrong on purpose.
pub fn rust_files(root: &Path) -> BTreeMap<String, String> {
    files(root, "rs")
}

/// Every file of the repository that ends in `extension`, as [`rust_files`] does it.
pub fn files(root: &Path, extension: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                if !name.starts_with('.') && !matches!(&*name, "target" | "ui" | "node_modules") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path);
                let path = path.strip_prefix(root).expect("found below the root");
                // A file that went away between listing and reading is no longer ours.
                if let Ok(text) = text {
                    found.insert(path.to_string_lossy().replace('\\', "/"), text);
                }
            }
        }
    }
    found
}

/// A function that proves something, found by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proof {
    /// The function's name.
    pub name: String,
    /// Its file, from the root of the repository.
    pub file: String,
}

/// All functions that run as tests: those with an attribute like `#[test]`, also inside macros, and
/// those that are named again elsewhere, as the cases of a conformance suite are.
///
/// A function that nobody calls proves nothing, so it is left out.
pub fn proofs(files: &BTreeMap<String, String>) -> Vec<Proof> {
    let mut functions = Vec::new();
    let mut mentions: BTreeMap<String, usize> = BTreeMap::new();
    for (file, text) in files {
        let Ok(tokens) = text.parse::<TokenStream>() else { continue };
        scan(tokens, &mut |name| *mentions.entry(name).or_default() += 1, &mut |name, tested| {
            functions.push((Proof { name, file: file.clone() }, tested));
        });
    }
    let runs = |name: &str, tested: bool| tested || mentions.get(name).is_some_and(|n| *n > 1);
    let mut proofs: Vec<_> = functions
        .into_iter()
        .filter(|(proof, tested)| runs(&proof.name, *tested))
        .map(|(proof, _)| proof)
        .collect();
    proofs.sort();
    proofs
}

/// Walks tokens, groups included, and reports every identifier and every function.
fn scan(
    tokens: TokenStream,
    mention: &mut dyn FnMut(String),
    function: &mut dyn FnMut(String, bool),
) {
    let mut tested = false;
    let mut after_hash = false;
    let mut after_fn = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                if after_fn {
                    function(name.clone(), std::mem::take(&mut tested));
                }
                after_fn = name == "fn";
                mention(name);
                after_hash = false;
            }
            TokenTree::Punct(punct) => {
                after_hash = punct.as_char() == '#';
                after_fn = false;
                if punct.as_char() == ';' {
                    tested = false;
                }
            }
            TokenTree::Group(group) => {
                if after_hash && group.delimiter() == Delimiter::Bracket {
                    tested |= is_test_attribute(group.stream());
                } else {
                    if group.delimiter() == Delimiter::Brace {
                        tested = false;
                    }
                    scan(group.stream(), mention, function);
                }
                after_hash = false;
                after_fn = false;
            }
            TokenTree::Literal(_) => after_hash = false,
        }
    }
}

/// `test`, `tokio::test`, `tokio::test(..)`: the last word of the attribute's path is `test`.
fn is_test_attribute(attribute: TokenStream) -> bool {
    let mut last = None;
    for token in attribute {
        match token {
            TokenTree::Ident(ident) => last = Some(ident.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == ':' => {}
            _ => break,
        }
    }
    last.as_deref() == Some("test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<String> {
        let files = texts.iter().enumerate().map(|(n, text)| (n.to_string(), (*text).to_owned()));
        proofs(&files.collect()).into_iter().map(|proof| proof.name).collect()
    }

    #[test]
    fn tests_are_found_by_their_attribute_also_inside_macros() {
        let text = "
            #[test] fn pe_001_plain() {}
            #[tokio::test(flavor = \"current_thread\")] async fn pe_002_async() {}
            mod inner { #[test] #[cfg(unix)] pub(crate) fn pe_003_nested() {} }
            proptest! { #[test] fn pe_004_in_a_macro(x in 0..9) {} }
        ";
        assert_eq!(
            names(&[text]),
            ["pe_001_plain", "pe_002_async", "pe_003_nested", "pe_004_in_a_macro"]
        );
    }

    #[test]
    fn a_function_that_nobody_runs_is_no_proof() {
        assert!(names(&["fn pe_001_forgotten() {} #[test] fn other() {}"]).len() == 1);
        assert!(names(&["#[cfg(test)] fn pe_001_forgotten() {}"]).is_empty());
        assert!(names(&["#[test] struct X; fn pe_001_forgotten() {}"]).is_empty());
        assert!(names(&["// pe_001_said\nfn pe_001_said() {}"]).is_empty());
    }

    #[test]
    fn a_case_of_a_suite_counts_once_the_suite_names_it() {
        let case = "pub async fn pe_001_case(store: &dyn Store) {}";
        assert_eq!(names(&[case, "suite![pe_001_case, pe_002_case];"]), ["pe_001_case"]);
    }
}
