//! Verbs at the same time end in one linear history.

use std::sync::Arc;

use knarr_model::incident::Audit;
use knarr_model::ports::guard::{Ask, Plan, Refusal, Run, Scene};
use knarr_model::ports::records::PageRequest;

use super::fixture::Guards;
use super::plan::{halted, next_guard};
use super::world::GuardWorld;

/// How many verbs are issued at once.
const VERBS: usize = 20;

/// Verbs issued at once from two places see each other's outcome, one after the other, and the
/// audit tells them in the order in which they took place, newest first (row 88).
pub async fn row_088_verbs_at_once_end_in_one_linear_audit(guards: Guards) {
    let world = Arc::new(GuardWorld::new(guards).await);
    let first = world.row().await.epoch;
    let verbs: Vec<_> = (0..VERBS)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let line = world.line("halt", Some(&format!("key {n}")));
                let decide = Arc::new(move |scene: &Scene| {
                    let row = halted(&scene.endpoint);
                    let done = vec![format!("{} -> {}", scene.endpoint.epoch, row.epoch)];
                    let audit = Some(Audit { done, ..line.clone() });
                    Ok(Plan { endpoint: Some(row), audit, ..Plan::default() })
                });
                let guard = if n % 2 == 0 { &world.guard } else { &world.second_guard };
                let done = guard.under_fence(world.ask(), decide, Run::ForReal).await;
                done.expect("the verb is answered").expect("nothing is refused");
            })
        })
        .collect();
    for verb in verbs {
        verb.await.expect("no verb panics");
    }
    let last = first + VERBS as i64;
    assert_eq!(world.row().await.epoch, last);
    let told: Vec<_> = world.history().await.into_iter().flat_map(|line| line.done).collect();
    let expected: Vec<_> = (first..last).rev().map(|n| format!("{n} -> {}", n + 1)).collect();
    assert_eq!(told, expected);
    let mut paged = Vec::new();
    let mut page = PageRequest { limit: 7, cursor: None };
    loop {
        let found = world.incidents.audit(None, &page).await.expect("the audit is read");
        assert!(found.items.len() <= 7);
        paged.extend(found.items.into_iter().flat_map(|line| line.done));
        let Some(next) = found.next else { break };
        page.cursor = Some(next);
    }
    assert_eq!(paged, expected);
}

/// Two verbs at once are one after the other: the second decides on what the first wrote.
pub async fn guard_two_verbs_at_once_are_one_after_the_other(guards: Guards) {
    let world = Arc::new(GuardWorld::new(guards).await);
    for round in 1..=10 {
        let raise = |world: Arc<GuardWorld>, second: bool| async move {
            let guard = if second { &world.second_guard } else { &world.guard };
            let decide = Arc::new(|scene: &Scene| {
                let row = next_guard(&scene.endpoint);
                Ok(Plan { endpoint: Some(row), ..Plan::default() })
            });
            let done = guard.under_fence(world.ask(), decide, Run::ForReal).await;
            done.expect("answered").expect("not refused")
        };
        let one = tokio::spawn(raise(world.clone(), false));
        let two = tokio::spawn(raise(world.clone(), true));
        one.await.expect("no verb panics");
        two.await.expect("no verb panics");
        assert_eq!(world.row().await.guard_version, 2 * round);
    }
}

/// Answers a repeated key as the guard does.
fn once(scene: &Scene, line: &Audit) -> Result<Plan, Refusal> {
    match &scene.repeated {
        Some(before) => Err(Refusal::Repeated(Box::new(before.clone()))),
        None => Ok(Plan {
            endpoint: Some(halted(&scene.endpoint)),
            audit: Some(line.clone()),
            ..Plan::default()
        }),
    }
}

/// A request under a key that was carried out is shown as repeated, with its line as it was; other
/// keys, and none, are not. The same key at once from two places is carried out once, also for two
/// endpoints.
pub async fn guard_a_repeated_key_is_shown(guards: Guards) {
    let world = Arc::new(GuardWorld::new(guards).await);
    for round in 0..10 {
        let key = format!("key \u{0} {round}");
        let verbs: Vec<_> = (0..4)
            .map(|n| {
                let (world, key) = (world.clone(), key.clone());
                tokio::spawn(async move {
                    let endpoint = if n < 2 { world.endpoint.clone() } else { "other".into() };
                    let guard = if n % 2 == 0 { &world.guard } else { &world.second_guard };
                    let line =
                        Audit { endpoint: endpoint.clone(), ..world.line("halt", Some(&key)) };
                    let ask = Ask { key: Some(key), endpoint, ..world.ask() };
                    let own = line.clone();
                    let decide = Arc::new(move |scene: &Scene| once(scene, &own));
                    let done = guard.under_fence(ask, decide, Run::ForReal).await;
                    (line, done.expect("the verb is answered"))
                })
            })
            .collect();
        let (mut carried, mut repeated) = (Vec::new(), Vec::new());
        for verb in verbs {
            match verb.await.expect("no verb panics") {
                (line, Ok(_)) => carried.push(line),
                (_, Err(Refusal::Repeated(before))) => repeated.push(*before),
                (_, Err(other)) => panic!("refused otherwise: {other:?}"),
            }
        }
        assert_eq!((carried.len(), repeated.len()), (1, 3));
        assert!(repeated.iter().all(|before| *before == carried[0]));
    }
    for key in [Some("another".to_owned()), None] {
        assert_eq!(world.look(Ask { key, ..world.ask() }).await.repeated, None);
    }
    let audit = world.incidents.audit(None, &super::world::all()).await.expect("it is read");
    assert_eq!(audit.items.len(), 10);
    assert!(world.history().await.iter().all(|line| line.endpoint == world.endpoint));
}
