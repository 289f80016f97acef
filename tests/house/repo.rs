//! The repository as the rules see it: packages from cargo, Rust files with their syntax trees.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cargo_metadata::{DependencyKind, MetadataCommand};
use knarr_tests::source;

/// What a package's manifest says, as far as the walls care.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// From the root of the repository: `crates/model`.
    pub(crate) dir: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Crate roots, from the root of the repository: `crates/model/src/lib.rs`.
    pub(crate) targets: Vec<String>,
    /// What is on by default.
    pub(crate) default_features: Vec<String>,
}

/// A dependency that reaches users: dev-dependencies are free.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) optional: bool,
}

/// Everything that the rules look at.
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
    /// By path from the root.
    pub(crate) texts: BTreeMap<String, String>,
    /// The same files, read as Rust.
    pub(crate) trees: BTreeMap<String, syn::File>,
}

impl Repo {
    pub(crate) fn read() -> Repo {
        let root = source::root();
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .expect("cargo can read the workspace");
        let from_root = |path: &str| {
            path.strip_prefix(&*root.to_string_lossy())
                .map(|rest| rest.trim_start_matches('/').to_owned())
                .unwrap_or_else(|| path.to_owned())
        };
        let mut packages: Vec<Package> = Vec::new();
        for package in metadata.workspace_packages() {
            let manifest = from_root(package.manifest_path.as_str());
            packages.push(Package {
                name: package.name.to_string(),
                dir: manifest.trim_end_matches("/Cargo.toml").to_owned(),
                dependencies: package
                    .dependencies
                    .iter()
                    .filter(|dependency| dependency.kind != DependencyKind::Development)
                    .map(|dependency| Dependency {
                        name: dependency.name.clone(),
                        optional: dependency.optional,
                    })
                    .collect(),
                targets: package.targets.iter().map(|it| from_root(it.src_path.as_str())).collect(),
                default_features: package.features.get("default").cloned().unwrap_or_default(),
            });
        }
        packages.sort_by(|a, b| a.dir.cmp(&b.dir));
        let texts = source::rust_files(&root);
        let trees = parse_all(&texts);
        Repo { root, packages, texts, trees }
    }
}

/// Reads files as Rust; those that are not (yet) Rust are the compiler's business.
pub(crate) fn parse_all(texts: &BTreeMap<String, String>) -> BTreeMap<String, syn::File> {
    let trees = texts.iter().filter_map(|(path, text)| {
        let tree = syn::parse_file(text).ok()?;
        Some((path.clone(), tree))
    });
    trees.collect()
}

/// Fails with all findings at once.
#[track_caller]
pub(crate) fn must_be_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n"));
}

/// As [`must_be_none`] once the time has come; until then what is missing is only printed.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the test runner shows it to whoever asks")]
pub(crate) fn must_be_none_once_due(findings: &[String], due: bool) {
    if due {
        must_be_none(findings);
    }
    for finding in findings {
        println!("not due yet: {finding}");
    }
}

#[test]
fn the_repository_is_really_read() {
    let repo = Repo::read();
    assert!(repo.packages.len() > 10, "{:?}", repo.packages);
    assert!(repo.texts.contains_key("tests/house/repo.rs"));
    assert!(repo.packages.iter().any(|it| it.targets.contains(&"tests/house.rs".to_owned())));
    let unread: Vec<_> = repo
        .texts
        .keys()
        .filter(|path| !repo.trees.contains_key(*path))
        .map(|path| format!("{path} cannot be read as Rust, so no rule could look at it."))
        .collect();
    must_be_none(&unread);
}
