//! The ledger against a model of the client: returns in a queue, confirms taking from its head.

use std::collections::VecDeque;

use super::*;

fn key(n: usize) -> Key {
    Key { id: n.to_string(), exchange: "x".to_owned(), routing_key: String::new() }
}

/// What the client would hand out when the broker confirms in `order`, having returned those of
/// `unroutable` some time before.
fn client(order: &[usize], unroutable: &[usize], early: usize) -> Vec<Settled<usize>> {
    let mut returns: VecDeque<usize> = VecDeque::new();
    let mut to_return: VecDeque<usize> = unroutable.iter().copied().collect();
    let mut settled = Vec::new();
    for (at, n) in order.iter().enumerate() {
        // A return comes at the latest right before its own confirm, and may come much earlier.
        while to_return
            .front()
            .is_some_and(|r| order.iter().position(|o| o == r).is_some_and(|own| own <= at + early))
        {
            returns.extend(to_return.pop_front());
        }
        let carried = returns.pop_front().map(|r| (key(r), "312 NO_ROUTE".to_owned()));
        settled.push(Settled { who: *n, key: Some(key(*n)), answer: Ok((true, carried)) });
    }
    settled
}

fn returned_of(outcomes: Vec<(usize, Outcome)>) -> Vec<usize> {
    let mut returned: Vec<_> = outcomes
        .into_iter()
        .filter_map(|(n, outcome)| match outcome {
            Outcome::Returned(_) => Some(n),
            Outcome::Confirmed => None,
            other => panic!("{n}: {other:?}"),
        })
        .collect();
    returned.sort_unstable();
    returned
}

#[test]
fn row_027_exactly_the_returned_ones_are_flagged_however_confirms_are_ordered_and_cut() {
    let n = 12;
    let mut order: Vec<usize> = (0..n).collect();
    // A linear congruence steps through many different orders without a source of randomness.
    let mut state = 7usize;
    for _ in 0..2_000 {
        for at in (1..n).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            order.swap(at, (state >> 33) % (at + 1));
        }
        let unroutable: Vec<usize> = {
            let mut some: Vec<usize> = (0..n).filter(|i| (state >> (20 + i)) & 3 == 0).collect();
            // The broker returns in the order of publishing; confirms may overtake each other.
            some.sort_by_key(|r| order.iter().position(|o| o == r));
            some
        };
        let early = (state >> 11) % 4;
        let cut = 1 + (state >> 17) % 5;
        let mut settled = client(&order, &unroutable, early);
        let mut ledger = Ledger::default();
        let mut outcomes = Vec::new();
        while !settled.is_empty() {
            let rest = settled.split_off(cut.min(settled.len()));
            let idle = rest.is_empty();
            outcomes.extend(ledger.round(settled, idle));
            settled = rest;
        }
        assert_eq!(outcomes.len(), n, "every message has an outcome");
        let mut expected = unroutable.clone();
        expected.sort_unstable();
        assert_eq!(returned_of(outcomes), expected, "order {order:?}, early {early}, cut {cut}");
        assert!(ledger.undecided.is_empty() && ledger.returned.is_empty());
    }
}

#[test]
fn a_confirm_that_carries_a_neighbours_return_is_not_decided_before_it_can_be() {
    let mut ledger = Ledger::default();
    let reason = || "312 NO_ROUTE".to_owned();
    // Both 1 and 2 were returned; the ack of 1 took the return of 2 from the queue.
    let first = Settled { who: 1, key: Some(key(1)), answer: Ok((true, Some((key(2), reason())))) };
    assert!(ledger.round(vec![first], false).is_empty());
    let second =
        Settled { who: 2, key: Some(key(2)), answer: Ok((true, Some((key(1), reason())))) };
    assert_eq!(returned_of(ledger.round(vec![second], true)), [1, 2]);
}

#[test]
fn when_the_channel_breaks_what_is_undecided_is_unknown() {
    let mut ledger = Ledger::default();
    let carried = Some((key(9), "312 NO_ROUTE".to_owned()));
    let first = Settled { who: 1, key: Some(key(1)), answer: Ok((true, carried)) };
    assert!(ledger.round(vec![first], false).is_empty());
    let lost = Broken::Away("lost".to_owned());
    let second = Settled { who: 2, key: Some(key(2)), answer: Err(lost.clone()) };
    let outcomes = ledger.round(vec![second], true);
    assert!(matches!(outcomes[0], (1, Outcome::Broken(_))), "{outcomes:?}");
    assert_eq!(outcomes[1], (2, Outcome::Broken(lost)));
}

#[test]
fn messages_that_need_not_be_routed_are_confirmed_by_their_ack_alone() {
    let mut ledger = Ledger::default();
    let carried = Some((key(9), "312 NO_ROUTE".to_owned()));
    let first = Settled { who: 1, key: None, answer: Ok((true, carried)) };
    assert_eq!(ledger.round(vec![first], false), [(1, Outcome::Confirmed)]);
}
