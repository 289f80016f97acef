//! One RabbitMQ node of our own: its folder, its ports, and how it is started, asked and ended.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::{
    alive, end, find_binary, free_port, fresh_dir, listens, note_pids, random, signal,
    spawn_detached, wait_until,
};

const MISSING: &str = "RabbitMQ is not installed: `apt-get install rabbitmq-server`, or give a \
                       broker's URL in KNARR_TEST_AMQP_URL";

/// Everything needed to find the node again from another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Node {
    dir: PathBuf,
    name: String,
    pub(super) port: u16,
    dist_port: u16,
    epmd_port: u16,
    pub(super) pid: u32,
    epmd_pid: u32,
}

impl Node {
    /// Starts a fresh node and waits until it takes connections.
    pub(super) fn start_new() -> Node {
        Node::start_new_with("")
    }

    /// The same, with further lines for its `rabbitmq.conf`.
    pub(super) fn start_new_with(lines: &str) -> Node {
        let dir = fresh_dir("rabbitmq");
        for folder in ["mnesia", "log"] {
            fs::create_dir_all(dir.join(folder)).expect("our own folder");
        }
        let settings = "loopback_users = none\nlog.console = false\nlog.file.level = warning\n\
                        disk_free_limit.absolute = 50MB\n";
        let settings = format!("{settings}{lines}\n");
        fs::write(dir.join("rabbit.conf"), settings).expect("our own folder");
        fs::write(dir.join("plugins"), "[].\n").expect("our own folder");
        let mut node = Node {
            name: format!("knarr-{:x}@localhost", random()),
            port: free_port(),
            dist_port: free_port(),
            epmd_port: free_port(),
            pid: 0,
            epmd_pid: 0,
            dir,
        };
        node.start();
        node
    }

    /// Where clients connect; without a virtual host.
    pub(super) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// The folder that holds everything of this node.
    pub(super) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Whether the node runs and takes connections.
    pub(super) fn is_up(&self) -> bool {
        alive(self.pid) && listens(self.port)
    }

    /// Starts the node on its folder and ports, and waits until it takes connections.
    pub(super) fn start(&mut self) {
        let server = find_binary(&server_candidates(), "rabbitmq-server").expect(MISSING);
        if !alive(self.epmd_pid) {
            self.start_epmd();
        }
        let pid_file = self.dir.join("pid");
        let _none_yet = fs::remove_file(&pid_file);
        let log = self.dir.join("out");
        let server = server.to_string_lossy();
        let shell = spawn_detached(&[&server], &self.environment(), None, &log).expect(MISSING);
        let up = wait_until(Duration::from_secs(90), || {
            listens(self.port) && pid_file.exists() || !alive(shell)
        });
        self.pid = fs::read_to_string(&pid_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(shell);
        note_pids(&self.dir, &[self.pid, self.epmd_pid]);
        let mut answer = Err("it does not listen".to_owned());
        let ready = up
            && wait_until(Duration::from_secs(60), || {
                answer = self.eval("rabbit:is_running()");
                answer.as_deref() == Ok("true")
            });
        if !ready {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<_> = said.lines().rev().take(15).collect();
            self.stop_all();
            panic!("RabbitMQ did not start: {answer:?}\n{}", tail.join("\n"));
        }
    }

    fn start_epmd(&mut self) {
        // Started here, since one that the node starts by itself would outlive it, pid unknown.
        let erts = fs::read_dir("/usr/lib/erlang").into_iter().flatten().flatten();
        let candidates: Vec<_> = erts.map(|entry| entry.path().join("bin/epmd")).collect();
        let epmd = find_binary(&candidates, "epmd").expect(MISSING);
        let port = self.epmd_port.to_string();
        let command = [&*epmd.to_string_lossy(), "-address", "127.0.0.1", "-port", &port];
        let log = self.dir.join("epmd");
        self.epmd_pid = spawn_detached(&command, &[], None, &log).expect(MISSING);
        let up = wait_until(Duration::from_secs(10), || listens(self.epmd_port));
        assert!(up, "epmd did not start, see {}", log.display());
    }

    fn environment(&self) -> Vec<(String, String)> {
        let folder = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        [
            ("HOME", folder("")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_NODENAME", self.name.clone()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", self.dist_port.to_string()),
            ("RABBITMQ_MNESIA_BASE", folder("mnesia")),
            ("RABBITMQ_LOG_BASE", folder("log")),
            ("RABBITMQ_LOGS", folder("log/rabbit.log")),
            ("RABBITMQ_CONFIG_FILE", folder("rabbit.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", folder("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", folder("plugins")),
            ("RABBITMQ_FEATURE_FLAGS_FILE", folder("feature_flags")),
            ("RABBITMQ_PID_FILE", folder("pid")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback_only()),
            ("ERL_EPMD_PORT", self.epmd_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Evaluates an Erlang expression in the node and returns the printed result.
    pub(super) fn eval(&self, expression: &str) -> Result<String, String> {
        let cookie = fs::read_to_string(self.dir.join(".erlang.cookie"));
        let cookie = cookie.map_err(|e| format!("no cookie: {e}"))?;
        let candidates = [PathBuf::from("/usr/lib/erlang/bin/erl_call")];
        match find_binary(&candidates, "erl_call") {
            Some(program) => {
                let address = format!("127.0.0.1:{}", self.dist_port);
                let call = || {
                    let mut call = Command::new(&program);
                    call.args(["-r", "-e", "-address", &address, "-c", cookie.trim()]);
                    self.run(call, Some(expression))
                };
                let mut said = call();
                // Callers at the same moment may have drawn the same name, and one is let in.
                for _ in 0..20 {
                    match &said {
                        Err(why) if why.contains("failed to connect") && alive(self.pid) => {}
                        _ => break,
                    }
                    std::thread::sleep(Duration::from_millis(20 + random() % 60));
                    said = call();
                }
                let said = said?;
                // It prints `{ok, Result}` or `{error, Reason}`.
                match said.strip_prefix("{ok, ").and_then(|rest| rest.strip_suffix('}')) {
                    Some(result) => Ok(result.to_owned()),
                    None => Err(said),
                }
            }
            None => {
                let mut call = self.ctl();
                call.args(["eval", &format!("{expression}.")]);
                self.run(call, None)
            }
        }
    }

    /// `rabbitmqctl` for this node, arguments still to be added.
    pub(super) fn ctl(&self) -> Command {
        let candidates: Vec<_> = server_candidates()
            .into_iter()
            .map(|server| server.with_file_name("rabbitmqctl"))
            .collect();
        let mut call = Command::new(find_binary(&candidates, "rabbitmqctl").expect(MISSING));
        call.envs(self.environment());
        call
    }

    fn run(&self, mut call: Command, input: Option<&str>) -> Result<String, String> {
        call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = call.spawn().map_err(|e| e.to_string())?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            // One that could not connect reads nothing; what it says tells why.
            let _said_below = stdin.write_all(format!("{text}.\n").as_bytes());
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{said} {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// Ends the node in an orderly way; its data stay.
    pub(super) fn stop(&self) {
        end(self.pid, "TERM", Duration::from_secs(30));
    }

    /// Sends a signal to the node.
    pub(super) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Ends the node and removes everything that it left.
    pub(super) fn remove(&self) {
        self.stop_all();
        let _best_effort = fs::remove_dir_all(&self.dir);
    }

    fn stop_all(&self) {
        // A node that was frozen takes no other signal.
        end(self.pid, "KILL", Duration::from_secs(10));
        end(self.epmd_pid, "KILL", Duration::from_secs(5));
    }
}

fn loopback_only() -> String {
    "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()
}

fn server_candidates() -> Vec<PathBuf> {
    // Not /usr/sbin: Debian's wrapper there switches the user and insists on its own folders.
    ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/opt/homebrew/sbin", "/usr/local/sbin"]
        .iter()
        .map(|dir| PathBuf::from(dir).join("rabbitmq-server"))
        .collect()
}
