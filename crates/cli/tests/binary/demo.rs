//! The demo as a script sees it.

use serde_json::Value;

use crate::program::{knarr, said};

#[test]
fn the_demo_tells_each_scan_as_one_line_of_json_and_then_the_sum() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = said(knarr(folder.path(), &["demo", "--json"]));
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is an object"))
        .collect();
    let (summary, scans) = lines.split_last().expect("lines");
    for scan in scans {
        let members = scan.as_object().expect("an object");
        assert!(members.keys().eq(["scanId", "took", "url", "verdict"]), "{scan}");
        assert!(scan["took"].as_f64().is_some_and(|took| took < 60.0), "{scan}");
    }
    let verdicts = |verdict: &str| scans.iter().filter(|scan| scan["verdict"] == verdict).count();
    for verdict in ["clean", "malicious", "suspicious"] {
        assert!(verdicts(verdict) > 1, "{verdict}");
    }
    assert_eq!((verdicts("unknown"), verdicts("failed")), (1, 1));
    let summary = &summary["summary"];
    assert_eq!(summary["scans"], scans.len());
    assert_eq!(summary["asExpected"], scans.len());
    assert!(summary["took"].as_f64().is_some_and(|took| took < 60.0), "{summary}");
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "the demo leaves nothing where it is called");
}
