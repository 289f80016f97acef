//! RabbitMQ for tests: a fresh virtual host on a shared broker, or a whole broker of one's own.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use uuid::Uuid;

use super::certificates::Certificates;
use super::node::Node;
use super::process::{end, free_port, watch_ourselves};
use super::shared::{self, Service};

/// Where a virtual host lives and how it is made and deleted.
#[derive(Clone, Debug)]
enum Host {
    Ours(Box<Node>),
    Foreign(Foreign),
}

/// A fresh virtual host for one test, deleted when dropped.
#[derive(Debug)]
pub struct Vhost {
    host: Host,
    base: String,
    name: String,
}

/// Makes a virtual host of the test's own (some 20 ms on a broker that runs).
///
/// # Panics
/// When there is no broker to be found, in one line that says what to install or set.
pub async fn vhost() -> Vhost {
    tokio::task::spawn_blocking(|| {
        let (base, host) = match shared::find(Service::Rabbitmq) {
            shared::Found::Broker(node) => (node.url(), Host::Ours(Box::new(node))),
            shared::Found::Url(url) => {
                let foreign = Foreign::of(&url);
                (foreign.base.clone(), Host::Foreign(foreign))
            }
            shared::Found::Database(_) => unreachable!("a broker was asked for"),
        };
        let vhost = Vhost { host, base, name: format!("t-{}", Uuid::now_v7().simple()) };
        vhost.make();
        vhost
    })
    .await
    .expect("making a virtual host")
}

impl Vhost {
    /// `amqp://user:password@host:port/vhost`.
    pub fn url(&self) -> String {
        format!("{}/{}", self.base, self.name)
    }

    /// The name of the virtual host.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn make(&self) {
        match &self.host {
            Host::Ours(node) => add_vhost(node, &self.name),
            Host::Foreign(api) => {
                let user = encode(&api.user);
                api.put(&format!("/api/vhosts/{}", self.name), "{}");
                let rights = r#"{"configure":".*","write":".*","read":".*"}"#;
                api.put(&format!("/api/permissions/{}/{user}", self.name), rights);
            }
        }
    }
}

fn add_vhost(node: &Node, name: &str) {
    let add = format!(
        "rabbit_vhost:add(<<\"{name}\">>, <<\"guest\">>), \
         rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"{name}\">>, \
         <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"guest\">>)"
    );
    node.eval(&add).unwrap_or_else(|e| panic!("the virtual host {name} cannot be made: {e}"));
}

impl Drop for Vhost {
    fn drop(&mut self) {
        match &self.host {
            Host::Ours(node) => {
                let delete = format!("rabbit_vhost:delete(<<\"{}\">>, <<\"guest\">>)", self.name);
                let _best_effort = node.eval(&delete);
            }
            Host::Foreign(api) => {
                let _best_effort = api.call("DELETE", &format!("/api/vhosts/{}", self.name), "");
            }
        }
    }
}

/// A broker of the test's own, which it may kill, freeze, stop and start; removed when dropped.
#[derive(Debug)]
pub struct Private {
    node: Node,
}

impl Private {
    /// Starts a fresh broker (some 5 s).
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn launch() -> Private {
        Private::launch_with("").await
    }

    /// The same, with further lines for its `rabbitmq.conf`, such as a listener with TLS.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn launch_with(lines: &str) -> Private {
        let lines = lines.to_owned();
        let node = tokio::task::spawn_blocking(move || Node::start_new_with(&lines)).await;
        let node = node.expect("starting a broker");
        watch_ourselves(node.dir());
        Private { node }
    }

    /// The same, which also listens with TLS on the port returned, and there wants a certificate
    /// from whoever comes.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn launch_with_tls(certificates: &Certificates) -> (Private, u16) {
        let (port, at) = (free_port(), |name| certificates.path(name).display().to_string());
        let lines = format!(
            "listeners.ssl.default = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true",
            at("authority.pem"),
            at("server.pem"),
            at("server.key"),
        );
        (Private::launch_with(&lines).await, port)
    }

    /// `amqp://guest:guest@127.0.0.1:port/%2f`; the same after every start.
    pub fn url(&self) -> String {
        format!("{}/%2f", self.node.url())
    }

    /// The port clients connect to.
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// Has the broker write the names of its quorum queues to disk.
    ///
    /// RabbitMQ 3.10 does that some time after it confirmed a declare: a broker that is killed
    /// before forgets the queue's log, which is no fault of anything under test.
    pub async fn remember_queues(&self) {
        let sync = "[dets:sync(T) || T <- [ra_directory_reverse, ra_log_meta], \
                    dets:info(T) =/= undefined], ok";
        self.eval(sync).await.expect("synced");
    }

    /// Kills the broker without warning. Data stay.
    pub async fn kill9(&self) {
        let node = self.node.clone();
        let killed = tokio::task::spawn_blocking(move || {
            end(node.pid, "KILL", Duration::from_secs(10));
        });
        killed.await.expect("killing a broker");
    }

    /// Stops the broker in an orderly way. Data stay.
    pub async fn stop(&self) {
        let node = self.node.clone();
        tokio::task::spawn_blocking(move || node.stop()).await.expect("stopping a broker");
    }

    /// Starts the broker again on its data and ports.
    pub async fn start(&mut self) {
        let mut node = self.node.clone();
        let started = tokio::task::spawn_blocking(move || {
            node.start();
            node
        });
        self.node = started.await.expect("starting a broker");
    }

    /// Freezes the broker (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.node.signal("STOP");
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&self) {
        self.node.signal("CONT");
    }

    /// Evaluates an Erlang expression (without the final dot) in the broker; binaries are printed
    /// as lists of bytes.
    ///
    /// # Errors
    /// What the broker said.
    pub async fn eval(&self, expression: &str) -> Result<String, String> {
        let (node, expression) = (self.node.clone(), expression.to_owned());
        tokio::task::spawn_blocking(move || node.eval(&expression)).await.expect("asking a broker")
    }

    /// Runs `rabbitmqctl` with these arguments and returns what it printed (some 0.4 s).
    ///
    /// # Errors
    /// What it said.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut call = self.node.ctl();
        call.args(arguments);
        let output = tokio::task::spawn_blocking(move || call.output()).await;
        let output = output.expect("asking a broker").map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.node.remove();
    }
}

/// A broker that somebody gave us, steered through its management API.
#[derive(Clone, Debug)]
struct Foreign {
    base: String,
    user: String,
    password: String,
    api: String,
}

impl Foreign {
    fn of(url: &str) -> Foreign {
        let (scheme, rest) = url.split_once("://").unwrap_or(("amqp", url));
        let (authority, _vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let host = hosts.split([',', ':']).next().unwrap_or("127.0.0.1");
        let api = std::env::var("KNARR_TEST_AMQP_API");
        Foreign {
            base: format!("{scheme}://{authority}"),
            user: user.to_owned(),
            password: password.to_owned(),
            api: api.unwrap_or_else(|_| format!("{host}:15672")),
        }
    }

    fn put(&self, path: &str, body: &str) {
        if let Err(e) = self.call("PUT", path, body) {
            panic!(
                "KNARR_TEST_AMQP_URL is set, but the broker's management API at {} gives no \
                 virtual host ({e}): set KNARR_TEST_AMQP_API=host:port, or unset both for a \
                 private broker",
                self.api
            );
        }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Result<(), String> {
        let fail = |e: std::io::Error| e.to_string();
        let mut stream = TcpStream::connect(&self.api).map_err(fail)?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(fail)?;
        let login = base64(format!("{}:{}", self.user, self.password).as_bytes());
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nauthorization: Basic {login}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.api,
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(fail)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(fail)?;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        match status.starts_with('2') {
            true => Ok(()),
            false => Err(answer.lines().next().unwrap_or_default().to_owned()),
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// RFC 4648 with padding, for one header line.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                let index = (bits >> (18 - 6 * place)) & 63;
                out.push(char::from(LETTERS[index as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let of = |text: &str| base64(text.as_bytes());
        assert_eq!([of(""), of("f"), of("fo"), of("foo")], ["", "Zg==", "Zm8=", "Zm9v"]);
        assert_eq!(of("guest:guest"), "Z3Vlc3Q6Z3Vlc3Q=");
    }

    #[test]
    fn a_given_url_is_taken_apart() {
        let foreign = Foreign::of("amqp://me:s3%40@broker:5672,other:5673/some");
        assert_eq!(foreign.base, "amqp://me:s3%40@broker:5672,other:5673");
        assert_eq!((foreign.user.as_str(), foreign.password.as_str()), ("me", "s3%40"));
        assert_eq!(foreign.api, "broker:15672");
    }

    #[tokio::test]
    async fn a_virtual_host_is_made_and_deleted() {
        let one = vhost().await;
        let other = vhost().await;
        assert_ne!(one.url(), other.url());
        let Host::Ours(node) = one.host.clone() else { return };
        let listed = |name: &str| {
            let exists = format!("rabbit_vhost:exists(<<\"{name}\">>)");
            node.eval(&exists).expect("an answer") == "true"
        };
        let name = one.name().to_owned();
        assert!(listed(&name));
        drop(one);
        assert!(!listed(&name) && listed(other.name()));
    }
}
