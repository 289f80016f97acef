//! PgBouncer before a database, for one test.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::process::{
    alive, end, find_binary, free_port, fresh_dir, listens, note_pids, spawn_detached,
    unprivileged, wait_until, watch_ourselves,
};

const MISSING: &str = "PgBouncer is not installed: `apt-get install pgbouncer`";

/// A pooler of the test's own; ended when dropped.
#[derive(Debug)]
pub struct Pooler {
    dir: PathBuf,
    port: u16,
    pid: u32,
}

impl Pooler {
    /// Starts one before the server of `url`, with this `pool_mode` and nothing else set.
    ///
    /// # Panics
    /// When PgBouncer is not installed or does not start.
    pub async fn before(url: &str, mode: &str) -> Pooler {
        let (url, mode) = (url.to_owned(), mode.to_owned());
        let started = tokio::task::spawn_blocking(move || Pooler::start(&url, &mode)).await;
        started.expect("starting PgBouncer")
    }

    fn start(url: &str, mode: &str) -> Pooler {
        let program = find_binary(&[PathBuf::from("/usr/sbin/pgbouncer")], "pgbouncer");
        let program = program.expect(MISSING).display().to_string();
        let (login, address) = parts(url);
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, server_port) = address.split_once(':').unwrap_or((address, "5432"));
        let password = match password {
            "" => String::new(),
            password => format!(" password={password}"),
        };
        let (dir, port) = (fresh_dir("pgbouncer"), free_port());
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} user={user}{password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {mode}\nmax_client_conn = 200\n\
             default_pool_size = 50\n"
        );
        let file = dir.join("pgbouncer.ini");
        fs::write(&file, settings).expect("our own folder");
        let log = dir.join("out");
        let user = unprivileged();
        if let Some(user) = user {
            std::os::unix::fs::chown(&dir, Some(user.uid), Some(user.gid)).expect("we are root");
        }
        let command = [program.as_str(), &file.display().to_string()];
        let pid = spawn_detached(&command, &[], user, &log).expect(MISSING);
        note_pids(&dir, &[pid]);
        watch_ourselves(&dir);
        let pooler = Pooler { dir, port, pid };
        wait_until(Duration::from_secs(20), || listens(port) || !alive(pid));
        let said = fs::read_to_string(&log).unwrap_or_default();
        assert!(alive(pid) && listens(port), "PgBouncer did not start:\n{said}");
        pooler
    }

    /// The same database through the pooler.
    pub fn url(&self, url: &str) -> String {
        url.replace(parts(url).1, &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        end(self.pid, "INT", Duration::from_secs(5));
        let _best_effort = fs::remove_dir_all(&self.dir);
    }
}

/// Login and address of a URL.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority.rsplit_once('@').unwrap_or(("", authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_login_and_an_address() {
        let of = parts("postgres://me:x@db:5432/app?sslmode=require");
        assert_eq!(of, ("me:x", "db:5432"));
        assert_eq!(parts("postgres://db/app"), ("", "db"));
    }
}
