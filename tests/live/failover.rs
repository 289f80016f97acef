//! The primary dies and its standby takes over: read-only at first, then with everything confirmed.

use std::sync::Arc;
use std::time::Duration;

use knarr_testkit::services::postgres::Private;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use crate::scans::Scans;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, until};

/// An address that moves from one server to another, as a virtual address or a name does.
struct Address {
    port: u16,
    to: Arc<Mutex<String>>,
    moved: broadcast::Sender<()>,
}

impl Address {
    async fn of(url: &str) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let to = Arc::new(Mutex::new(server_of(url)));
        let (moved, _) = broadcast::channel(1);
        let address = Address { port, to: Arc::clone(&to), moved: moved.clone() };
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (to, mut moves) = (to.lock().clone(), moved.subscribe());
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        biased;
                        _ends = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _moved = moves.recv() => {}
                    }
                });
            }
        });
        address
    }

    fn url(&self, url: &str) -> String {
        url.replace(&server_of(url), &format!("127.0.0.1:{}", self.port))
    }

    /// From now on it is that server's; connections to the last one are gone.
    fn move_to(&self, url: &str) {
        *self.to.lock() = server_of(url);
        // Nobody may be connected.
        let _heard = self.moved.send(());
    }
}

fn server_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a URL");
    let (authority, _) = rest.split_once('/').expect("a path");
    authority.rsplit_once('@').map_or(authority, |(_, server)| server).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_040_row_041_live_a_standby_takes_over_and_what_was_confirmed_is_there() {
    let primary = Private::launch().await;
    let standby = primary.standby().await;
    // What is confirmed is on both.
    primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    primary.run("SELECT pg_reload_conf()").await;
    let address = Address::of(&primary.url()).await;
    let world = World::on_store(address.url(&primary.url())).await;
    let mut serving = Serving::ready(&world, &[("VIRUSTOTAL_POLL_INTERVAL", "1s")]).await;
    let mut scans = Scans::tapped(&world).await;
    scans.submit(60).await;
    let mut stored = Stored::open(&world).await;
    until("work is under way", async || {
        match stored.count("SELECT count(*) FROM knarr.instance").await {
            begun if begun >= 20 => Ok(()),
            begun => Err(format!("{begun} begun")),
        }
    })
    .await;
    primary.kill9().await;
    // The address has moved before anybody is promoted: whoever connects may only read.
    address.move_to(&standby.url());
    scans.submit(20).await;
    until("it says that nothing can be written", async || {
        let log = serving.log();
        let told = log.lines().find(|line| line.contains("25006"));
        told.map(|line| println!("{line}")).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    standby.run("SELECT pg_promote()").await;
    standby.run("ALTER SYSTEM RESET synchronous_standby_names").await;
    standby.run("SELECT pg_reload_conf()").await;
    serving.wait_until_ready().await;
    scans.submit(20).await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}
