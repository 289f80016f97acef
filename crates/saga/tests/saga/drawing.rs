//! The shape of a machine, and its drawing.

use knarr_model::shape::EventShape;
use knarr_saga::prelude::*;
use knarr_saga::{definition, dot, mermaid, svg};
use serde::{Deserialize, Serialize};

use crate::messages;

messages!(SubmitUrl, CancelScan, ShowProgress, Later);

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct AskVirusTotal;

#[derive(Serialize, Deserialize, Call)]
#[call(output = u8)]
struct AskSafeBrowsing;

#[derive(Timer)]
struct Deadline;

#[derive(Clone, Copy, Debug, States)]
enum Step {
    Scanning,
    Reviewing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct UrlScan;

impl Machine for UrlScan {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        use Step::{Reviewing, Scanning};
        m.version(2);
        m.initially::<SubmitUrl>().create(start).go_to(Scanning);
        m.during([Scanning]).done::<AskVirusTotal>().then(note).stay();
        m.during([Scanning])
            .all_of([ended::<AskVirusTotal>(), ended::<AskSafeBrowsing>()])
            .branch([To(Reviewing), Finish, Fail], conclude);
        m.during([Scanning, Reviewing]).after(Deadline).then(|_, _| {}).finish();
        m.during_any().on::<CancelScan>().finish();
        m.during([Reviewing]).on::<CancelScan>().then(hold).stay();
        m.during([Reviewing]).on::<ShowProgress>().ignore();
        m.during_any().on::<Later>().defer();
    }
}

fn start(_: &SubmitUrl, _: &mut Effects<UrlScan>) -> UrlScan {
    UrlScan
}

fn note(_: &mut UrlScan, _: &u8, _: &mut Effects<UrlScan>) {}

fn conclude(_: &mut UrlScan, _: &mut Effects<UrlScan>) -> Target<Step> {
    Finish
}

fn hold(_: &mut UrlScan, _: &CancelScan, _: &mut Effects<UrlScan>) {}

#[test]
fn mt_005_mt_006_the_shape_tells_every_row() {
    let shape = definition::<UrlScan>().shape();
    assert_eq!((shape.saga.as_str(), shape.version), ("url-scan", 2));
    assert_eq!(shape.states, ["Scanning", "Reviewing"]);
    assert_eq!(shape.rows.len(), 8);
    let start = &shape.rows[0];
    assert_eq!(
        (&start.states[..], &start.behaviours[..]),
        (&["Initial".into()][..], &["start".into()][..])
    );
    let join = &shape.rows[2];
    let ended = |call: &str| EventShape::Ended(call.to_owned());
    assert_eq!(join.on, EventShape::AllOf(vec![ended("AskVirusTotal"), ended("AskSafeBrowsing")]));
    assert_eq!(join.behaviours, ["conclude"]);
    assert_eq!(join.targets, ["Reviewing", "Final", "Fail"]);
    assert_eq!(shape.rows[3].behaviours, ["closure"]);
    assert!(shape.rows[4].states.is_empty() && shape.rows[6].ignored && !shape.rows[7].ignored);
}

#[test]
fn mt_078_the_drawing_is_the_one_in_the_golden_file() {
    let drawn = mermaid(&definition::<UrlScan>().shape());
    assert_eq!(drawn, include_str!("url_scan.mmd"), "\n{drawn}");
}

#[test]
fn mt_078_graphviz_reads_the_same_arrows() {
    let drawn = dot(&definition::<UrlScan>().shape());
    assert_eq!(drawn, include_str!("url_scan.dot"), "\n{drawn}");
    let lines = mermaid(&definition::<UrlScan>().shape());
    let arrows = |text: &str, sign: &str| text.lines().filter(|line| line.contains(sign)).count();
    assert_eq!(arrows(&drawn, " -> "), arrows(&lines, " --> "));
}

#[test]
fn mt_078_the_picture_is_the_one_in_the_golden_file() {
    let drawn = svg(&definition::<UrlScan>().shape());
    assert_eq!(drawn, include_str!("url_scan.svg"), "\n{drawn}");
}
