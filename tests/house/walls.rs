//! Which crate may use which, and which of the outside crates; docs/ARCHITECTURE.md shows the same.

use crate::repo::{Package, Repo, must_be_none};

/// One row of the picture: a crate and what it may use.
pub(crate) struct Wall {
    pub(crate) floor: u8,
    /// The folder's name, or `sagas/*` for every package below `sagas/`.
    pub(crate) name: &'static str,
    pub(crate) may_use: &'static [&'static str],
}

const fn wall(floor: u8, name: &'static str, may_use: &'static [&'static str]) -> Wall {
    Wall { floor, name, may_use }
}

/// A new arrow is drawn here and in docs/ARCHITECTURE.md, in one commit that says why.
pub(crate) const WALLS: &[Wall] = &[
    wall(1, "model", &[]),
    wall(1, "macros", &[]),
    wall(2, "saga", &["model", "macros"]),
    wall(2, "guard", &["model"]),
    wall(2, "http", &["model"]),
    wall(2, "sandbox", &[]),
    wall(2, "rabbitmq", &["model"]),
    wall(2, "postgres", &["model"]),
    wall(2, "embedded", &["model"]),
    wall(3, "engine", &["model", "saga", "guard"]),
    wall(3, "admin", &["model", "guard"]),
    wall(3, "sagas/*", &["saga", "http"]),
    wall(4, "testkit", &["model", "saga", "guard", "engine"]),
    wall(
        4,
        "host",
        &[
            "model", "macros", "saga", "guard", "http", "rabbitmq", "postgres", "embedded",
            "engine", "admin",
        ],
    ),
    wall(5, "cli", &["host", "sandbox", "sagas/*"]),
];

/// Outside crates that not everybody may use: who may, and why only they.
pub(crate) struct Reserved {
    pub(crate) crates: &'static [&'static str],
    pub(crate) may_use: &'static [&'static str],
    pub(crate) why: &'static str,
}

pub(crate) const RESERVED: &[Reserved] = &[
    Reserved {
        crates: &["reqwest"],
        may_use: &["http", "host"],
        why: "only `http` opens sockets to the web; `host` speaks to its own admin API and to the \
              operator's collector",
    },
    Reserved {
        crates: &["opentelemetry-proto", "prost"],
        may_use: &["host", "testkit"],
        why: "only the host speaks to a collector; the testkit plays one",
    },
    Reserved {
        crates: &["sqlx"],
        may_use: &["postgres", "embedded", "testkit"],
        why: "only stores speak SQL; the testkit makes databases for tests",
    },
    Reserved {
        crates: &["lapin"],
        may_use: &["rabbitmq"],
        why: "only one crate knows the broker's client",
    },
    Reserved { crates: &["axum"], may_use: &["admin", "sandbox"], why: "only they listen" },
    Reserved {
        crates: &["tokio"],
        may_use: &[
            "http", "sandbox", "rabbitmq", "postgres", "embedded", "engine", "admin", "testkit",
            "host", "cli",
        ],
        why: "words, tables and sagas are pure: no runtime",
    },
    Reserved {
        crates: &["clap", "comfy-table", "indicatif"],
        may_use: &["host", "cli"],
        why: "only the outermost crates talk to a terminal",
    },
    Reserved { crates: &["anyhow"], may_use: &["cli"], why: "a library's errors can be matched" },
    Reserved {
        crates: &["syn", "quote", "proc-macro2", "darling", "proc-macro-crate"],
        may_use: &["macros"],
        why: "only derives write Rust",
    },
    Reserved {
        crates: &["hyper", "ureq", "curl", "isahc", "native-tls", "openssl", "rand"],
        may_use: &[],
        why: "there is one HTTP client, one TLS, one source of randomness already",
    },
];

/// The name by which the table knows a package; `None` for the tests, which may use all.
fn row_name(package: &Package) -> Option<&str> {
    match package.dir.split_once('/') {
        Some(("sagas", _)) => Some("sagas/*"),
        Some(("crates", dir)) => Some(dir),
        _ => None,
    }
}

/// Everything that stands against the tables.
fn findings(packages: &[Package], walls: &[Wall], reserved: &[Reserved]) -> Vec<String> {
    let row_of = |name: &str| {
        let ours = packages.iter().find(|package| package.name == name);
        ours.and_then(|package| row_name(package))
    };
    let mut findings = Vec::new();
    for package in packages {
        let Some(row) = row_name(package) else { continue };
        let Some(wall) = walls.iter().find(|wall| wall.name == row) else {
            findings.push(format!(
                "{}: this crate has no row. Say in WALLS (tests/house/walls.rs) and in \
                 docs/ARCHITECTURE.md on which floor it stands and what it may use.",
                package.dir
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if let Some(other) = row_of(name) {
                // What users never get unless they ask: the testkit behind a feature of the host.
                let for_users_tests = row == "host" && other == "testkit" && dependency.optional;
                if !wall.may_use.contains(&other) && !for_users_tests {
                    findings.push(format!(
                        "{}: may not use `{name}`. Move what is needed to a crate that both may \
                         use, or pass it in through a port; if the wall itself is wrong, change \
                         WALLS (tests/house/walls.rs) and docs/ARCHITECTURE.md together.",
                        package.dir
                    ));
                }
            }
            for rule in reserved.iter().filter(|rule| rule.crates.contains(&name)) {
                if !rule.may_use.contains(&row) {
                    findings.push(format!(
                        "{}: may not use `{name}`: {}. Use what {} offers, or pass it in.",
                        package.dir,
                        rule.why,
                        if rule.may_use.is_empty() {
                            "the house".to_owned()
                        } else {
                            format!("`{}`", rule.may_use.join("`, `"))
                        }
                    ));
                }
            }
        }
        let testing = |feature: &String| feature.contains("testing") || feature.contains("testkit");
        if package.default_features.iter().any(testing) {
            findings.push(format!(
                "{}: `testing` must not be a default feature; users put it into their \
                 dev-dependencies.",
                package.dir
            ));
        }
    }
    for wall in walls {
        if !packages.iter().any(|package| row_name(package) == Some(wall.name)) {
            findings.push(format!(
                "WALLS has a row for `{}`, which does not exist: remove it there and in \
                 docs/ARCHITECTURE.md.",
                wall.name
            ));
        }
    }
    findings
}

#[test]
fn crates_use_only_what_the_table_allows() {
    must_be_none(&findings(&Repo::read().packages, WALLS, RESERVED));
}

#[test]
fn no_arrow_of_the_table_goes_up() {
    let floor = |name: &str| WALLS.iter().find(|wall| wall.name == name).map(|wall| wall.floor);
    for wall in WALLS {
        for used in wall.may_use {
            let below = floor(used).unwrap_or_else(|| panic!("`{used}` has no row of its own"));
            assert!(below <= wall.floor, "{} may not use {used} on a higher floor", wall.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Dependency;

    fn package(name: &str, dir: &str, uses: &[&str]) -> Package {
        let dependencies = uses
            .iter()
            .map(|name| Dependency {
                name: name.trim_end_matches('?').to_owned(),
                optional: name.ends_with('?'),
            })
            .collect();
        Package { name: name.to_owned(), dir: dir.to_owned(), dependencies, ..Package::default() }
    }

    const SMALL: &[Wall] = &[
        wall(1, "model", &[]),
        wall(2, "saga", &["model"]),
        wall(3, "sagas/*", &["saga"]),
        wall(4, "testkit", &["model"]),
        wall(4, "host", &["model"]),
        wall(5, "cli", &["host", "sagas/*"]),
    ];

    /// A house without fault, with one package replaced.
    fn house(changed: Package) -> Vec<String> {
        let mut packages = vec![
            package("knarr-model", "crates/model", &["serde"]),
            package("knarr-saga", "crates/saga", &["knarr-model"]),
            package("knarr-a", "sagas/a", &["knarr-saga"]),
            package("knarr-testkit", "crates/testkit", &["knarr-model", "tokio"]),
            package("knarr", "crates/host", &["knarr-model", "knarr-testkit?"]),
            package("knarr-cli", "crates/cli", &["knarr", "knarr-a"]),
            package("knarr-tests", "tests", &["knarr-testkit", "reqwest", "sqlx"]),
        ];
        match packages.iter_mut().find(|package| package.dir == changed.dir) {
            Some(package) => *package = changed,
            None => packages.push(changed),
        }
        findings(&packages, SMALL, RESERVED)
    }

    #[test]
    fn a_house_without_fault_passes() {
        let same = package("knarr-model", "crates/model", &["serde"]);
        assert_eq!(house(same), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_fault_is_found() {
        let cases = [
            (package("knarr-model", "crates/model", &["knarr-saga"]), "may not use `knarr-saga`"),
            (package("knarr-saga", "crates/saga", &["knarr-model", "tokio"]), "`tokio`"),
            (package("knarr-a", "sagas/a", &["knarr-model"]), "may not use `knarr-model`"),
            (package("knarr-a", "sagas/a", &["reqwest"]), "may not use `reqwest`"),
            (package("knarr-b", "sagas/b", &["knarr-a"]), "may not use `knarr-a`"),
            (package("knarr", "crates/host", &["knarr-testkit"]), "`knarr-testkit`"),
            (package("knarr", "crates/host", &["knarr-a"]), "may not use `knarr-a`"),
            (package("knarr-cli", "crates/cli", &["knarr-testkit?"]), "`knarr-testkit`"),
            (package("knarr-new", "crates/new", &[]), "has no row"),
        ];
        for (changed, expected) in cases {
            let name = changed.dir.clone();
            let found = house(changed);
            assert!(found.len() == 1 && found[0].contains(expected), "{name}: {found:?}");
        }
    }

    #[test]
    fn a_testing_feature_by_default_and_a_row_without_a_crate_are_found() {
        let mut host = package("knarr", "crates/host", &[]);
        host.default_features = vec!["testing".to_owned()];
        assert!(house(host)[0].contains("must not be a default feature"));
        assert!(findings(&[], SMALL, &[]).len() == SMALL.len());
    }
}
