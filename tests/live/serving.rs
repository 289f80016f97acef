//! `knarr serve` as a child process: started, asked over its admin API, stopped, killed.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::binary::binary;
use crate::program::{Program, command};
use crate::world::{World, until};

/// What opens the admin API of every server here.
pub(crate) const TOKEN: &str = "a-token-for-live-tests";
/// A stop takes less than 10 s; on a machine that does much else, somewhat more.
pub(crate) const STOP: Duration = Duration::from_secs(20);

/// `knarr` with this verb, in a folder of its own, with settings for this world.
pub(crate) fn knarr(world: &World, verb: &str, folder: &std::path::Path) -> Command {
    let services = world.sandbox.url();
    let mut command = command(binary());
    command.arg(verb).current_dir(folder).stdout(Stdio::null());
    command.envs([
        ("KNARR_BROKER", world.broker.clone()),
        ("KNARR_STORE", world.store.clone()),
        ("VIRUSTOTAL_URL", services.clone()),
        ("SAFE_BROWSING_URL", services),
    ]);
    command.envs([
        ("KNARR_LISTEN", "127.0.0.1:0"),
        ("KNARR_ADMIN_TOKEN", TOKEN),
        ("KNARR_DATA_DIR", "data"),
        ("KNARR_HTTP_ALLOW", "127.0.0.0/8"),
        ("VIRUSTOTAL_API_KEY", "premium-key"),
        ("VIRUSTOTAL_QUOTA", "unlimited"),
        ("VIRUSTOTAL_POLL_INTERVAL", "500ms"),
        ("SAFE_BROWSING_API_KEY", "premium-key"),
    ]);
    command
}

/// A running server.
pub(crate) struct Serving {
    pub(crate) program: Program,
    web: reqwest::Client,
}

impl Serving {
    /// Starts a server with these settings besides the usual ones.
    pub(crate) fn start(world: &World, set: &[(&str, &str)]) -> Serving {
        Serving::start_with(world, set, &[])
    }

    /// The same, with these flags.
    pub(crate) fn start_with(world: &World, set: &[(&str, &str)], flags: &[&str]) -> Serving {
        let (name, folder) = world.room();
        let mut command = knarr(world, "serve", &folder);
        command.args(flags).envs(set.iter().copied());
        let program = Program::start(&name, command, world.folder());
        let web = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
        Serving { program, web: web.expect("a client") }
    }

    /// The same, and waits until it is ready.
    pub(crate) async fn ready(world: &World, set: &[(&str, &str)]) -> Serving {
        let mut serving = Serving::start(world, set);
        serving.wait_until_ready().await;
        serving
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        until("ready", async || {
            self.must_run();
            let (status, body) = self.ask("/health/ready").await?;
            if status == 200 { Ok(()) } else { Err(body) }
        })
        .await;
    }

    fn must_run(&mut self) {
        if let Some(status) = self.program.ended() {
            panic!("the server ended with {status}");
        }
    }

    /// The admin API's address, once the server listens.
    pub(crate) fn url(&self) -> Option<String> {
        let log = self.program.log();
        let (_, after) = log.split_once("admin API: ")?;
        // In JSON the line ends with a quotation mark.
        after.split(['\n', '"']).next().map(|line| line.trim().to_owned())
    }

    /// Status and body of the answer, or why there is none.
    pub(crate) async fn ask(&self, path: &str) -> Result<(u16, String), String> {
        let url = self.url().ok_or("it does not listen yet")?;
        let request = self.web.get(format!("{url}{path}")).bearer_auth(TOKEN);
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
        Ok((status, body))
    }

    /// What the admin API answers.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path).await.unwrap_or_else(|why| panic!("{path}: {why}"));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Replaces something.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Value {
        let url = self.url().expect("it listens");
        let sent = self.web.put(format!("{url}{path}")).bearer_auth(TOKEN).json(body).send().await;
        let answer = sent.expect("it is asked");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Gives an order, and what it answers.
    pub(crate) async fn order(&self, path: &str) -> Value {
        let (status, body) = self.try_order(path).await;
        assert!((200..300).contains(&status), "{path}: {status} {body}");
        body
    }

    /// Gives an order that may be refused.
    pub(crate) async fn try_order(&self, path: &str) -> (u16, Value) {
        let url = self.url().expect("it listens");
        let sent = self.web.post(format!("{url}{path}")).bearer_auth(TOKEN).send().await;
        let answer = sent.expect("it is asked");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    /// All rows of a list, over all pages.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}?limit=200{cursor}")).await;
            rows.append(page["items"].as_array_mut().expect("items"));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// The counters, by their names without `knarr_` and `_total`.
    pub(crate) async fn counters(&self) -> BTreeMap<String, u64> {
        let (_, text) = self.ask("/metrics").await.expect("metrics");
        let counter = |line: &str| {
            let (name, value) = line.strip_prefix("knarr_")?.split_once(' ')?;
            Some((name.strip_suffix("_total")?.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(counter).collect()
    }

    /// The most bytes that it has had in memory so far.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.program.id());
        let status = std::fs::read_to_string(status).expect("our own child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let number = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        number * 1024
    }

    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Kibibytes of memory that it uses.
    pub(crate) fn memory(&self) -> u64 {
        self.program.memory()
    }

    /// Ends it without warning.
    pub(crate) async fn kill9(mut self) {
        self.must_run();
        self.program.kill9().await;
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.must_run();
        self.program.signal("TERM").await;
        self.program.end_within(STOP).await
    }
}
