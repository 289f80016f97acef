//! What a crate may mention only in certain places: time, threads and sockets come through ports.

use crate::modules::Crate;
use crate::repo::{Repo, must_be_none};

/// Paths that the files of a crate must not mention.
struct Place {
    /// Folders it holds for.
    dirs: &'static [&'static str],
    /// Beginnings of the paths.
    paths: &'static [&'static str],
    /// Longer beginnings that are allowed all the same.
    but: &'static [&'static str],
    /// Files, by the beginning of their path, in which they are allowed.
    except_in: &'static [&'static str],
    why: &'static str,
}

const PURE: &[&str] = &["crates/model", "crates/macros", "crates/saga", "sagas"];

/// Addresses as values open nothing.
const VALUES: &[&str] =
    &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::thread::panicking"];

const PLACES: &[Place] = &[
    Place {
        dirs: &["crates/model"],
        paths: &["tokio_util"],
        but: &["tokio_util::sync::CancellationToken"],
        except_in: &[],
        why: "model takes the cancellation token from tokio-util, and nothing else",
    },
    Place {
        dirs: &["crates/host"],
        paths: &["reqwest"],
        but: &[],
        except_in: &["crates/host/src/verbs/operate", "crates/host/src/telemetry/target"],
        why: "only two speak HTTP here: the operator's client, to our own admin API, and telemetry, \
              to the operator's collector",
    },
    Place {
        dirs: &["crates/model", "crates/saga", "crates/guard", "crates/engine"],
        paths: &[
            "tokio::time",
            "tokio::spawn",
            "tokio::task::spawn",
            "tokio::task::spawn_blocking",
            "tokio::task::spawn_local",
            "tokio::runtime",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
        but: &[],
        except_in: &[],
        why: "time and concurrency come through the ports `Clock` and `Spawn`, or no simulator \
              could repeat a run",
    },
    Place {
        dirs: &["crates/engine", "crates/guard"],
        paths: &["std::fs", "std::net", "std::env", "std::process", "tokio::net", "tokio::fs"],
        but: VALUES,
        except_in: &[],
        why: "the engine reaches the world through its ports only",
    },
    Place {
        dirs: PURE,
        paths: &["std::fs", "std::net", "std::process", "std::thread", "tokio"],
        but: VALUES,
        except_in: &["crates/macros"],
        why: "words, tables and sagas do no I/O; an activity goes out through the http crate",
    },
];

fn begins(path: &[String], with: &str) -> bool {
    let words: Vec<&str> = with.split("::").collect();
    path.len() >= words.len() && words.iter().zip(path).all(|(word, have)| word == have)
}

fn findings(tree: &Crate, places: &[Place]) -> Vec<String> {
    let mut findings = Vec::new();
    for (file, path) in tree.written_out() {
        for place in places {
            let here = place.dirs.iter().any(|dir| file.starts_with(&format!("{dir}/")))
                && !place.except_in.iter().any(|start| file.starts_with(start))
                && !file.contains("/tests/");
            let forbidden = place.paths.iter().any(|with| begins(&path, with))
                && !place.but.iter().any(|with| begins(&path, with));
            if here && forbidden {
                findings.push(format!("{file}: may not use {}: {}.", path.join("::"), place.why));
            }
        }
    }
    findings
}

#[test]
fn time_threads_and_sockets_are_used_only_where_they_belong() {
    let repo = Repo::read();
    let mut found: Vec<String> = Vec::new();
    for target in repo.packages.iter().flat_map(|package| &package.targets) {
        found.extend(findings(&Crate::read(target, &repo.trees), PLACES));
    }
    must_be_none(&found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::parse_all;

    fn of(file: &str, text: &str) -> Vec<String> {
        let trees = parse_all(&[(file.to_owned(), text.to_owned())].into());
        findings(&Crate::read(file, &trees), PLACES)
    }

    #[test]
    fn forbidden_paths_are_found_however_they_are_written() {
        let file = "crates/engine/src/lib.rs";
        for text in [
            "use tokio::time::sleep;",
            "use tokio::{sync::mpsc, time};",
            "use std::time::Instant as Clock;",
            "fn f() { tokio::spawn(async {}); }",
            "use tokio::task; fn f() { task::spawn(async {}); }",
            "fn f() { select! { _ = tokio::time::sleep(x) => {} } }",
        ] {
            assert!(!of(file, text).is_empty(), "{text}");
        }
        for text in [
            "use std::time::Duration; use tokio::sync::mpsc;",
            "use tokio::task; fn f() { task::yield_now(); }",
            "#[cfg(test)] mod tests { use tokio::time::sleep; }",
        ] {
            assert_eq!(of(file, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn exceptions_hold_where_they_are_named_and_nowhere_else() {
        let client = "use reqwest::Client;";
        assert_eq!(of("crates/host/src/verbs/operate.rs", client).len(), 0);
        assert_eq!(of("crates/host/src/verbs/serve.rs", client).len(), 1);
        let token = "pub use tokio_util::sync::CancellationToken;";
        assert_eq!(of("crates/model/src/lib.rs", token).len(), 0);
        assert_eq!(of("crates/model/src/lib.rs", "use tokio_util::time::DelayQueue;").len(), 1);
        assert_eq!(of("sagas/a/src/lib.rs", "use std::net::TcpStream;").len(), 1);
        assert_eq!(of("sagas/a/src/lib.rs", "use std::net::{IpAddr, Ipv6Addr};").len(), 0);
    }
}
