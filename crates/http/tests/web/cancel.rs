//! A request that is given up closes its connection.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::server::{Server, client, request};

#[tokio::test]
async fn s0_16_dropping_a_request_closes_its_connection() {
    let (told, mut heard) = mpsc::channel(4);
    let server = Server::start(move |mut stream| {
        let told = told.clone();
        async move {
            request(&mut stream).await;
            let _ = told.send("asked").await;
            let mut rest = [0; 16];
            if let Ok(0) | Err(_) = stream.read(&mut rest).await {
                let _ = told.send("closed").await;
            }
        }
    })
    .await;
    let client = client();
    let asking = tokio::spawn({
        let (client, url) = (client.clone(), server.url("/"));
        async move { client.get(url).send().await.map(|answer| answer.status) }
    });
    assert_eq!(heard.recv().await, Some("asked"));
    asking.abort();
    let closed = timeout(Duration::from_secs(5), heard.recv()).await;
    assert_eq!(closed.expect("nobody else can close it"), Some("closed"));
}
