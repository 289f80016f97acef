//! Messages set aside: once each, and found again by everything a person asks for.

use chrono::TimeDelta;
use knarr_model::commit::Slice;
use knarr_model::digest::Digest;
use knarr_model::ports::records::{PageRequest, QuarantineFilter};
use knarr_model::quarantine::{Class, Quarantined, Status};
use uuid::Uuid;

use super::stores::Stores;
use super::world::World;

async fn set_aside(world: &World, quarantine: Vec<Quarantined>) {
    world.commit(vec![Slice { quarantine, ..Slice::default() }]).await;
}

async fn listed(world: &World, filter: &QuarantineFilter) -> Vec<Uuid> {
    let page = PageRequest { limit: 100, cursor: None };
    let found = world.stores.records.quarantine(filter, &page).await.expect("it is listed");
    assert_eq!(found.next, None);
    found.items.iter().map(|row| row.id).collect()
}

/// One row per endpoint, message and content: the first stays as it is, whatever comes again. The
/// same id with other content, or at another endpoint, is another row.
pub async fn a_message_is_set_aside_once(stores: Stores) {
    let world = World::new(stores).await;
    let first = world.quarantined(Class::Unhandled);
    let same = Quarantined {
        id: world.id(),
        class: Class::Exhausted,
        reason: "again".to_owned(),
        ..first.clone()
    };
    let other_body =
        Quarantined { id: world.id(), digest: Digest::of_bytes(b"other"), ..first.clone() };
    let other_place = Quarantined { id: world.id(), endpoint: "billing".into(), ..first.clone() };
    set_aside(&world, vec![first.clone()]).await;
    set_aside(&world, vec![same.clone(), other_body.clone()]).await;
    set_aside(&world, vec![other_place.clone()]).await;
    let mut found = listed(&world, &QuarantineFilter::default()).await;
    found.sort();
    let mut expected = vec![first.id, other_body.id, other_place.id];
    expected.sort();
    assert_eq!(found, expected);
    let read = |id| world.stores.records.quarantined(id);
    let kept = read(first.id).await.expect("it is read").expect("it is there");
    assert_eq!((kept.class, kept.reason), (Class::Unhandled, first.reason));
    assert!(read(same.id).await.expect("it is read").is_none());
}

/// Lists are newest first and show held rows unless asked; each filter, and all together, choose
/// rows and lose none.
pub async fn pe_271_the_list_is_newest_first_and_filtered(stores: Stores) {
    let world = World::new(stores).await;
    let at = world.now();
    let row = |n: i64, class, status, endpoint: &str| Quarantined {
        at: at + TimeDelta::seconds(n),
        status,
        endpoint: endpoint.into(),
        ..world.quarantined(class)
    };
    let rows = [
        row(3, Class::Unhandled, Status::Held, "orders"),
        row(1, Class::Unhandled, Status::Held, "billing"),
        row(2, Class::Exhausted, Status::Held, "orders"),
        row(4, Class::Unhandled, Status::Released, "orders"),
        row(5, Class::IdConflict, Status::Discarded, "orders"),
    ];
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    set_aside(&world, rows.to_vec()).await;
    let none = QuarantineFilter::default();
    let cases = [
        (none.clone(), vec![ids[0], ids[2], ids[1]]),
        (QuarantineFilter { status: Some(Status::Released), ..none.clone() }, vec![ids[3]]),
        (QuarantineFilter { status: Some(Status::Discarded), ..none.clone() }, vec![ids[4]]),
        (QuarantineFilter { class: Some(Class::Unhandled), ..none.clone() }, vec![ids[0], ids[1]]),
        (
            QuarantineFilter { endpoint: Some("orders".into()), ..none.clone() },
            vec![ids[0], ids[2]],
        ),
        (
            QuarantineFilter {
                endpoint: Some("orders".into()),
                class: Some(Class::Unhandled),
                status: Some(Status::Held),
            },
            vec![ids[0]],
        ),
        (QuarantineFilter { class: Some(Class::Stuck), ..none }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(listed(&world, &filter).await, expected, "{filter:?}");
    }
}

/// Pages cover all rows exactly once, newest first, though many were set aside in the same instant.
pub async fn pe_271_pages_cover_all_rows_once(stores: Stores) {
    let world = World::new(stores).await;
    let at = world.now();
    let rows: Vec<_> = (0..23)
        .map(|n| Quarantined {
            at: at + TimeDelta::microseconds(n / 8),
            ..world.quarantined(Class::Unhandled)
        })
        .collect();
    set_aside(&world, rows.clone()).await;
    let mut found: Vec<Quarantined> = Vec::new();
    let mut cursor = None;
    loop {
        let page = PageRequest { limit: 5, cursor };
        let filter = QuarantineFilter::default();
        let read = world.stores.records.quarantine(&filter, &page).await.expect("it is listed");
        assert!(read.items.len() <= 5);
        found.extend(read.items);
        cursor = read.next;
        if cursor.is_none() {
            break;
        }
        assert!(found.len() < 40, "the pages do not end");
    }
    assert!(found.is_sorted_by(|one, two| one.at >= two.at));
    let mut ids: Vec<_> = found.iter().map(|row| row.id).collect();
    ids.sort();
    let mut expected: Vec<_> = rows.iter().map(|row| row.id).collect();
    expected.sort();
    assert_eq!(ids, expected);
}
