//! Permits: all nodes draw from one purse, and no window gives more than its quota.

use std::time::Duration;

use knarr_model::ports::permit::Quota;

use super::stores::Stores;
use super::world::World;

/// A window that does not turn while tests of this century run.
const AGE: Duration = Duration::from_secs(400 * 365 * 86_400);

fn quota(limit: u32, window: Duration) -> Quota {
    Quota { limit, window }
}

/// Many takers on two nodes at once get exactly as many permits as the window has.
pub async fn two_nodes_share_one_purse(stores: Stores) {
    let world = World::new(stores).await;
    let takers: Vec<_> = (0..30)
        .map(|n| {
            let store = if n % 2 == 0 { world.store() } else { world.second() }.clone();
            tokio::spawn(async move {
                store.take("virus-total", &[quota(10, AGE)]).await.expect("it is answered")
            })
        })
        .collect();
    let mut given = 0;
    for taker in takers {
        match taker.await.expect("no taker panics") {
            Ok(()) => given += 1,
            Err(wait) => assert!(wait > Duration::ZERO && wait <= AGE),
        }
    }
    assert_eq!(given, 10);
    let other = world.store().take("safe-browsing", &[quota(1, AGE)]).await.expect("answered");
    assert!(other.is_ok(), "each name has its own purse");
}

/// Several quotas give one permit each or none: what one window refuses costs the other nothing.
pub async fn a_refused_permit_costs_no_other_window_anything(stores: Stores) {
    let world = World::new(stores).await;
    let (small, large) = (quota(1, AGE), quota(3, AGE * 2));
    let take = |quotas: Vec<Quota>| {
        let store = world.store().clone();
        async move { store.take("scan", &quotas).await.expect("it is answered").is_ok() }
    };
    assert!(take(vec![small, large]).await);
    for _ in 0..5 {
        assert!(!take(vec![small, large]).await);
        assert!(!take(vec![large, small]).await);
    }
    assert!(take(vec![large]).await);
    assert!(take(vec![large]).await);
    assert!(!take(vec![large]).await);
    assert!(take(Vec::new()).await, "no quota refuses nothing");
}

/// After the wait that a refusal names, and not before, the next aligned window gives permits.
pub async fn the_wait_ends_with_the_aligned_window(stores: Stores) {
    let world = World::new(stores).await;
    let window = Duration::from_secs(2);
    let quotas = [quota(2, window)];
    let mut refused = None;
    // The window may turn between two takes; it cannot between all of them.
    for _ in 0..20 {
        if let Err(wait) = world.store().take("scan", &quotas).await.expect("it is answered") {
            refused = Some(wait);
            break;
        }
    }
    let wait = refused.expect("a window of two permits refuses the third");
    assert!(wait > Duration::ZERO && wait <= window, "{wait:?}");
    let now = world.now().timestamp_millis().rem_euclid(2_000);
    let left = Duration::from_millis(u64::try_from(2_000 - now).unwrap_or(0));
    assert!(wait.abs_diff(left) < Duration::from_millis(900), "{wait:?} is not {left:?}");
    world.advance(wait + Duration::from_millis(50)).await;
    assert!(world.second().take("scan", &quotas).await.expect("it is answered").is_ok());
}
