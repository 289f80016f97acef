//! Writes the outside crate to disk, builds it once, and runs what was built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use knarr_tests::source;

/// A crate in a folder of its own.
pub(crate) struct Project {
    folder: PathBuf,
    target: PathBuf,
}

/// What our manifest says about development builds must hold there too, or every dependency would be
/// built a second time.
const PROFILE: &str = "[profile.dev]\ndebug = \"line-tables-only\"\n";

impl Project {
    /// The files of `tests/outside/crate`, with a manifest whose only dependency is `knarr`.
    pub(crate) fn write() -> Project {
        // Always the same folder, or each run would leave another program in the target directory.
        let (root, folder) =
            (source::root(), PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("outside"));
        // Also the data of the last run.
        let _not_there = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("made");
        let knarr = root.join("crates/host");
        let manifest = format!(
            "[package]\nname = \"word-shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [dependencies]\nknarr = {{ path = {knarr:?} }}\n\n\
             [dev-dependencies]\nknarr = {{ path = {knarr:?}, features = [\"testing\"] }}\n\n\
             {PROFILE}\n[workspace]\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest).expect("written");
        // The versions that we have: the build must not ask a registry.
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("copied");
        copy(&root.join("tests/outside/crate"), &folder);
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(given) => root.join(given),
            None => root.join("target"),
        };
        Project { folder, target }
    }

    /// Builds everything once and runs the crate's own tests: its story.
    pub(crate) fn test(&self) -> String {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["test", "--offline", "--quiet"]);
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.target);
        // What cargo told this test about itself is nothing for another package.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        let output = command.output().expect("cargo can be run");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "the outside crate fails:\n{out}\n{err}");
        out
    }

    /// The program that the tests were built with.
    pub(crate) fn program(&self) -> PathBuf {
        let built = self.target.join("debug/word-shop");
        assert!(built.is_file(), "{} is not there", built.display());
        // Another build may replace it: this one is ours.
        let own = self.folder.join("word-shop");
        fs::copy(&built, &own).expect("copied");
        own
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Copies a folder. Its files end in `.in`, for they are no part of this workspace.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("the outside crate is there").flatten() {
        let name = entry.file_name().into_string().expect("text");
        let target = to.join(name.strip_suffix(".in").unwrap_or(&name));
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}
