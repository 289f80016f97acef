//! Each package takes versions and lints from the workspace, so that there is one place to change them.

use std::collections::BTreeMap;

use crate::repo::{Repo, must_be_none};

/// Who declares the switches that break one rule each, and who turns them on; neither is released.
fn breaks(path: &str) -> bool {
    path.starts_with("crates/engine/") || path.starts_with("crates/testkit/")
}

fn findings(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in manifests {
        let mut section = "";
        let mut lints = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
            } else if section == "lints" && line == "workspace = true" {
                lints = true;
            } else if line.starts_with('#') {
                continue;
            } else if line.contains("mutations") && section != "dev-dependencies" && !breaks(path) {
                findings.push(format!(
                    "{path}: `{line}`: rules may be switched off in test builds only; name the \
                     feature among the dev-dependencies."
                ));
            } else if section.contains("dependencies")
                && line.contains('=')
                && !line.contains("workspace = true")
            {
                findings.push(format!(
                    "{path}: `{line}`: take it from the workspace (`name.workspace = true`) and \
                     name its version once, in [workspace.dependencies]."
                ));
            }
        }
        if !lints {
            findings.push(format!(
                "{path}: the shared lints are not in force; add `[lints]` with `workspace = true`."
            ));
        }
    }
    findings
}

#[test]
fn packages_share_versions_and_lints() {
    let repo = Repo::read();
    let manifests = repo.packages.iter().map(|package| {
        let path = format!("{}/Cargo.toml", package.dir);
        let text = std::fs::read_to_string(repo.root.join(&path)).expect("cargo has read it too");
        (path, text)
    });
    must_be_none(&findings(&manifests.collect()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        findings(&BTreeMap::from([("crates/a/Cargo.toml".to_owned(), text.to_owned())]))
    }

    #[test]
    fn a_version_of_its_own_and_missing_lints_are_found() {
        let good = "[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n\
                    uuid = { workspace = true, features = [\"v4\"] }\n";
        assert_eq!(of(good), Vec::<String>::new());
        assert!(of("[dependencies]\n")[0].contains("lints"));
        let own = format!("{good}[dev-dependencies]\nanyhow = \"1\"\n");
        assert!(of(&own)[0].contains("`anyhow = \"1\"`"));
        let broken = good.replace("v4", "mutations");
        assert!(of(&broken)[0].contains("test builds only"));
        assert!(of(&broken.replace("[dependencies]", "[dev-dependencies]")).is_empty());
    }
}
