//! Timers in real time, on a file that was made just now.

use std::time::{Duration, Instant};

use knarr::prelude::*;
use knarr::uuid::Uuid;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Flows")]
struct Wind {
    correlation_id: Uuid,
}

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Flows")]
struct Rang {
    correlation_id: Uuid,
}

#[derive(Timer)]
struct Bell;

#[derive(Clone, Copy, States)]
enum Step {
    Ticking,
}

#[derive(Clone, Serialize, Deserialize)]
struct Alarm {
    id: Uuid,
}

impl Machine for Alarm {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Wind>().create(wind).go_to(Step::Ticking);
        m.during([Step::Ticking]).after(Bell).then(ring).finish();
    }
}

fn wind(e: &Wind, out: &mut Effects<Alarm>) -> Alarm {
    out.schedule(Bell, seconds(1));
    Alarm { id: e.correlation_id }
}

fn ring(alarm: &mut Alarm, out: &mut Effects<Alarm>) {
    out.publish(Rang { correlation_id: alarm.id });
}

#[tokio::test]
async fn pe_146_a_timer_one_second_after_a_fresh_start_fires_in_about_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = knarr::App::new("alarm")
        .saga::<Alarm>()
        .alone()
        .set("KNARR_DATA_DIR", folder.path().to_str().expect("text"))
        .set("KNARR_LISTEN", "127.0.0.1:0")
        .start()
        .await
        .expect("it starts");
    server.ready().await;
    let mut rings = server.subscribe::<Rang>("rings").await.expect("a queue");
    let id = Uuid::new_v4();
    let wound = Instant::now();
    server.publish(&Wind { correlation_id: id }).await.expect("published");
    let rang = tokio::time::timeout(Duration::from_secs(30), rings.next()).await;
    let took = wound.elapsed();
    assert_eq!(rang.expect("in time").expect("a message").message.correlation_id, id);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    // A machine that runs many tests at once may be late by a second or two.
    assert!(took < Duration::from_secs(4), "{took:?}");
    server.stop().await;
}
