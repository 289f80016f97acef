//! Server processes that outlive the test that starts them: started detached, ended by pid.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a server runs as, when not as ourselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The user for servers that refuse to run as root; `None` when we are not root.
pub(super) fn unprivileged() -> Option<User> {
    // Who we are is who owns what we make.
    let probe = fresh_dir("probe");
    let uid = fs::metadata(&probe).map_or(0, |meta| meta.uid());
    let _best_effort = fs::remove_dir(&probe);
    if uid != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].iter().find_map(|wanted| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

/// A fresh folder below the system's temporary one, readable for a server that is another user.
pub(super) fn fresh_dir(kind: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("knarr-{kind}-{:x}", random()));
    fs::create_dir_all(&dir).expect("the temporary folder can be written");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("our own folder");
    dir
}

/// A number that differs between processes and calls.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A loopback port that nobody listens on, below the range from which the system takes the local
/// ends of connections: a server that is down for a while finds its port free again.
pub(super) fn free_port() -> u16 {
    for _ in 0..1000 {
        let port = 20_000 + (random() % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000 on 127.0.0.1");
}

/// Whether somebody listens on the loopback port.
pub(super) fn listens(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}

/// Starts `command` detached from this process, its output in `log`, and returns its pid.
pub(super) fn spawn_detached(
    command: &[&str],
    environment: &[(String, String)],
    user: Option<User>,
    log: &Path,
) -> io::Result<u32> {
    // The shell ends at once, so that the server belongs to nobody whose end it could share.
    let script = "trap '' HUP; log=$1; shift; \"$@\" >>\"$log\" 2>&1 </dev/null & echo $!";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(log).args(command);
    shell.envs(environment.iter().map(|(name, value)| (name, value)));
    shell.current_dir("/").process_group(0).stdin(Stdio::null()).stderr(Stdio::null());
    if let Some(User { uid, gid }) = user {
        shell.uid(uid).gid(gid);
    }
    let output = shell.output()?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| io::Error::other(format!("{} could not be started", command.join(" "))))
}

/// Sends `signal` (a name such as `KILL`) to one process.
pub(super) fn signal(pid: u32, signal: &str) {
    let _gone_already = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Whether the process runs; one that ended and that nobody waited for does not.
pub(super) fn alive(pid: u32) -> bool {
    if Path::new("/proc/self/stat").exists() {
        return fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
            !matches!(state, None | Some('Z' | 'X'))
        });
    }
    Command::new("sh")
        .args(["-c", &format!("kill -0 {pid}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Waits until `condition` holds, at most `limit`; whether it does.
pub(super) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks the process to end, and kills it when it does not within `grace`.
pub(super) fn end(pid: u32, signal_name: &str, grace: Duration) {
    signal(pid, signal_name);
    if !wait_until(grace, || !alive(pid)) {
        signal(pid, "KILL");
        wait_until(Duration::from_secs(5), || !alive(pid));
    }
}

/// The first of `candidates` that exists, else `name` on the PATH.
pub(super) fn find_binary(candidates: &[PathBuf], name: &str) -> Option<PathBuf> {
    candidates.iter().find(|path| path.is_file()).cloned().or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
    })
}

/// Leaves a small shell behind that ends the processes listed in `dir/pids` and removes `dir` once
/// `over`, a shell condition, holds.
pub(super) fn watch(dir: &Path, over: &str) {
    let script = format!(
        "while sleep 3; do [ -d \"$1\" ] || exit 0; if {over}; then \
         kill -CONT $(cat \"$1/pids\"); kill -INT $(cat \"$1/pids\"); \
         kill -TERM $(cat \"$1/pids\"); sleep 5; kill -KILL $(cat \"$1/pids\"); \
         rm -rf \"$1\"; exit 0; fi; done"
    );
    let dir = dir.to_string_lossy();
    let command = ["sh", "-c", &script, "watch", &dir];
    let _best_effort = spawn_detached(&command, &[], None, Path::new("/dev/null"));
}

/// The same, when this process is gone without having ended them: a test that was killed.
pub(super) fn watch_ourselves(dir: &Path) {
    watch(dir, &format!("! kill -0 {}", std::process::id()));
}

/// Notes which processes belong to `dir`.
pub(super) fn note_pids(dir: &Path, pids: &[u32]) {
    let text: Vec<_> = pids.iter().map(u32::to_string).collect();
    let _best_effort = fs::write(dir.join("pids"), text.join(" "));
}
