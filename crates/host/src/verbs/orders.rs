//! Orders over the admin API: who gives one says why, may only look at it, and hears what it did.

use super::operate::Method;
use serde_json::{Map, Value};

use super::operate::{Reach, cell};
use crate::app::App;
use crate::error::Error;
use crate::out;

/// Flags of every order.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct How {
    /// Why; the audit keeps it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only show what would be done; nothing is written
    #[arg(long)]
    dry_run: bool,
    /// Given again under the same key, the order takes effect once
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// One order.
pub(crate) struct Given {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Map<String, Value>,
}

impl Given {
    /// A POST without anything more.
    pub(crate) fn post(path: String) -> Given {
        Given { method: Method::POST, path, query: Vec::new(), body: Map::new() }
    }

    /// With another method.
    pub(crate) fn method(self, method: Method) -> Given {
        Given { method, ..self }
    }

    /// With a member of the query.
    pub(crate) fn query(mut self, name: &'static str, value: impl ToString) -> Given {
        self.query.push((name, value.to_string()));
        self
    }

    /// With a member of the body, if there is one.
    pub(crate) fn member(mut self, name: &str, value: Option<String>) -> Given {
        if let Some(value) = value {
            self.body.insert(name.to_owned(), value.into());
        }
        self
    }
}

impl How {
    /// Gives one order and tells what it did.
    pub(crate) async fn give(self, app: &App, order: Given) -> Result<(), Error> {
        let key = self.key.clone();
        self.give_under(app, order, key.as_deref()).await
    }

    /// As [`How::give`], for one of several orders: each has a key of its own, so that all of them
    /// can be given again.
    pub(crate) async fn give_for(&self, app: &App, order: Given, one: &str) -> Result<(), Error> {
        let key = self.key.as_ref().map(|key| format!("{key}/{one}"));
        self.give_under(app, order, key.as_deref()).await
    }

    async fn give_under(&self, app: &App, order: Given, key: Option<&str>) -> Result<(), Error> {
        let api = self.reach.open(app)?;
        let mut order = order.member("reason", self.reason.clone());
        if self.dry_run {
            order = order.query("dry_run", true);
        }
        let Given { method, path, query, body } = order;
        let done = api.order(method, &path, &query, key, &Value::Object(body)).await?;
        match self.reach.json {
            true => out::json(&done),
            false => lines(app.name(), &done).iter().try_for_each(|line| out::line(line)),
        }
    }
}

/// What an order did, for people.
fn lines(program: &str, done: &Value) -> Vec<String> {
    let is = |name: &str| done[name].as_bool() == Some(true);
    let mut lines = Vec::new();
    if is("dryRun") {
        lines.push("nothing was written; it would do this:".to_owned());
    } else if is("repeated") {
        lines.push("done before under this key:".to_owned());
    }
    let sentences = done["done"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(sentences.map(|sentence| format!("- {sentence}")));
    lines.extend(nodes(program, done));
    if is("waits") {
        let endpoint = cell(done, "endpoint");
        lines.push(format!("it goes on after: {program} endpoints resume {endpoint}"));
    }
    if is("dryRun") {
        return lines;
    }
    if let Some(incident) = done["incident"]["id"].as_str() {
        let status = cell(&done["incident"], "status");
        lines.push(format!("incident ({status}): {program} incidents show {incident}"));
    }
    lines.push(format!("audit {}, by {}", cell(done, "auditId"), cell(done, "who")));
    lines
}

/// Of a halt: what each process did with what it had in hand, and which ones have not told yet.
fn nodes(program: &str, done: &Value) -> Vec<String> {
    let Some(nodes) = done["nodes"].as_array() else { return Vec::new() };
    if nodes.is_empty() {
        return vec!["no live process serves it: nothing was in hand".to_owned()];
    }
    let (told, silent): (Vec<_>, Vec<_>) =
        nodes.iter().partition(|node| node["inHand"].as_u64().is_some());
    let sum = |name: &str| told.iter().filter_map(|node| node[name].as_u64()).sum::<u64>();
    let parts = |of: &dyn Fn(&str) -> u64| {
        format!(
            "{} in hand: {} drained (committed before the halt), {} returned, {} abandoned (calls \
             cancelled)",
            of("inHand"),
            of("drained"),
            of("returned"),
            of("abandoned")
        )
    };
    let mut lines = Vec::new();
    if !told.is_empty() {
        lines.push(parts(&sum));
    }
    for node in told.iter().filter(|_| nodes.len() > 1) {
        let own = parts(&|name| node[name].as_u64().unwrap_or_default());
        lines.push(format!("  process {}: {own}", cell(node, "node")));
    }
    for node in &silent {
        lines.push(format!(
            "  process {}: has not told yet what it had in hand; nothing of it commits. Ask again: \
             {program} endpoints halt {}",
            cell(node, "node"),
            cell(done, "endpoint")
        ));
    }
    lines
}

/// The ways to go on that the server names, as commands to type.
pub(crate) fn ways(program: &str, row: &Value) -> Result<(), Error> {
    let ways = row["next"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ways.is_empty() {
        return Ok(());
    }
    out::line("\nwhat to type next:")?;
    for way in ways {
        out::line(&format!("  {program} {}", cell(way, "command")))?;
        out::line(&format!("      {}", cell(way, "does")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_that_waits_names_the_command_that_lets_it_go_on() {
        let done = json!({
            "auditId": "a-1", "who": "anna", "endpoint": "url-scan", "waits": true,
            "dryRun": false, "repeated": false, "done": ["message m goes as n"],
            "incident": { "id": "i-1", "status": "retried" },
        });
        assert_eq!(
            lines("knarr", &done),
            [
                "- message m goes as n",
                "it goes on after: knarr endpoints resume url-scan",
                "incident (retried): knarr incidents show i-1",
                "audit a-1, by anna",
            ]
        );
    }

    #[test]
    fn row_085_a_halt_tells_what_each_process_had_in_hand_and_who_has_not_told() {
        let node = |id: &str, drained: u64, returned: u64, abandoned: u64| {
            json!({
                "node": id, "inHand": drained + returned + abandoned, "drained": drained,
                "returned": returned, "abandoned": abandoned, "at": "2026-01-01T00:00:00Z",
            })
        };
        let silent = json!({
            "node": "n-3", "inHand": null, "drained": null, "returned": null, "abandoned": null,
        });
        let told = |nodes: Value| nodes_of(&json!({ "endpoint": "scan", "nodes": nodes }));
        let all = told(json!([node("n-1", 120, 60, 0), node("n-2", 0, 10, 10), silent]));
        assert_eq!(
            all[0],
            "200 in hand: 120 drained (committed before the halt), 70 returned, 10 abandoned (calls \
             cancelled)"
        );
        assert!(all[1].starts_with("  process n-1: 180 in hand: 120 drained"), "{all:?}");
        assert!(all[2].starts_with("  process n-2: 20 in hand: 0 drained"), "{all:?}");
        assert!(all[3].starts_with("  process n-3: has not told yet"), "{all:?}");
        assert!(all[3].ends_with("knarr endpoints halt scan"), "{all:?}");
        assert_eq!(told(json!([node("n-1", 1, 0, 0)])).len(), 1, "one process is the sum");
        assert_eq!(told(json!([])), ["no live process serves it: nothing was in hand"]);
        assert!(nodes_of(&json!({ "endpoint": "scan" })).is_empty(), "not of a halt");
    }

    fn nodes_of(done: &Value) -> Vec<String> {
        nodes("knarr", done)
    }

    #[test]
    fn a_dry_run_says_first_that_nothing_was_written() {
        let done = json!({ "auditId": null, "dryRun": true, "done": ["x"], "incident": null });
        assert_eq!(lines("knarr", &done), ["nothing was written; it would do this:", "- x"]);
        let again = json!({ "auditId": "a", "who": "b", "repeated": true, "done": ["x"] });
        assert_eq!(lines("knarr", &again)[0], "done before under this key:");
    }
}
