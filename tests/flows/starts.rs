//! Starts that must not work, each with an error that says what to do.

use knarr::Error;

use crate::house::{House, app, sandbox};

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_by_name() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let house = House::open(app(folder.path(), &sandbox)).await.expect("it starts");
    let error = app(folder.path(), &sandbox).start().await.err().expect("one at a time");
    let told = error.to_string();
    assert!(told.starts_with("KNARR_STORE: ") && told.contains("in use by process"), "{told}");
    house.close().await;
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let taken = sandbox.address().to_string();
    let error = app(folder.path(), &sandbox).set("KNARR_LISTEN", &taken).start().await;
    let error = error.err().expect("the sandbox listens there");
    assert!(matches!(error, Error::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&taken), "{error}");
}

#[tokio::test]
async fn pe_299_wrong_settings_of_ours_and_of_the_saga_are_told_together() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let app = app(folder.path(), &sandbox)
        .set("KNARR_LANES", "none")
        .set("VIRUSTOTAL_QUOTA", "4")
        .set("KNARR_HTTP_ALLOW", "");
    let error = app.start().await.err().expect("two are wrong");
    let told = error.to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with("KNARR_LANES: `none`"), "{told}");
    assert!(lines[1].starts_with("VIRUSTOTAL_QUOTA: `4` is no quota"), "{told}");
}

#[tokio::test]
async fn a_saga_whose_call_nobody_answers_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let (saga, _) = knarr_url_scan::url_scan(
        &knarr_url_scan::UrlScanSettings::default(),
        &knarr::http::Client::new(knarr::http::Settings::default()).expect("a client"),
    );
    let app = knarr::App::new("half")
        .saga_definition(saga)
        .alone()
        .set("KNARR_DATA_DIR", folder.path().to_str().expect("text"));
    assert_eq!(app.findings().len(), 2);
    let error = app.start().await.err().expect("two calls are not answered");
    assert!(error.to_string().contains("AskVirusTotal, which no activity answers"), "{error}");
}
