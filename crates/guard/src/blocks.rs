//! Which start messages may not start a run: one endpoint's block set, as this process knows it.

use std::collections::{BTreeMap, BTreeSet};

use knarr_model::MessageId;
use knarr_model::incident::{Block, BlockBy};

/// The block set of an endpoint at one `guard_version`. Empty, it costs a comparison.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// The version it was read at; none before it was read.
    version: Option<i64>,
    prints: BTreeMap<String, Block>,
    ids: BTreeMap<String, Block>,
    /// Messages that may start all the same. Several set-aside messages may say the same: what one
    /// of their blocks lets go, none of them stops.
    lets: BTreeSet<MessageId>,
}

/// What a start message meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met<'a> {
    /// Nothing: it may start.
    Nothing,
    /// It starts nothing.
    Blocked(&'a Block),
    /// The block is of an older definition: one copy may show whether it goes now.
    Outdated(&'a Block),
}

impl Blocks {
    /// The set as it was read.
    pub fn at(version: i64, blocks: Vec<Block>) -> Blocks {
        let mut set = Blocks { version: Some(version), ..Blocks::default() };
        for block in blocks {
            set.lets.extend(block.lets);
            let known = match block.by {
                BlockBy::Fingerprint => &mut set.prints,
                BlockBy::Id => &mut set.ids,
                BlockBy::Off => continue,
            };
            // Of equal ones the newest counts: once it was tried, the older ones stay blocked too.
            let newer = known
                .get(&block.value)
                .is_none_or(|have| have.definition_version <= block.definition_version);
            if newer {
                known.insert(block.value.clone(), block);
            }
        }
        set
    }

    /// Whether it is the set of this version.
    pub fn is_of(&self, version: i64) -> bool {
        self.version == Some(version)
    }

    /// Whether nothing is blocked.
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty() && self.ids.is_empty()
    }

    /// What a start message meets; `fingerprint` is only asked for if something is blocked by it.
    pub fn meet(
        &self,
        message: MessageId,
        fingerprint: impl FnOnce() -> String,
        definition_version: u32,
    ) -> Met<'_> {
        if self.is_empty() {
            return Met::Nothing;
        }
        let by_id = self.ids.get(&message.to_string());
        let block = by_id.or_else(|| {
            if self.prints.is_empty() { None } else { self.prints.get(&fingerprint()) }
        });
        match block {
            None => Met::Nothing,
            Some(_) if self.lets.contains(&message) => Met::Nothing,
            Some(block) if block.definition_version < definition_version => Met::Outdated(block),
            Some(block) => Met::Blocked(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn block(by: BlockBy, value: &str) -> Block {
        Block {
            quarantined: Uuid::from_u128(1),
            endpoint: "scan".into(),
            by,
            value: value.to_owned(),
            incident: None,
            definition_version: 2,
            lets: Some(MessageId(Uuid::from_u128(7))),
        }
    }

    #[test]
    fn s0_14_row_093_copies_are_met_by_content_under_whatever_id() {
        let set = Blocks::at(3, vec![block(BlockBy::Fingerprint, "aa")]);
        let id = |n| MessageId(Uuid::from_u128(n));
        let print = |text: &str| text.to_owned();
        assert!(matches!(set.meet(id(5), || print("aa"), 2), Met::Blocked(_)));
        assert!(matches!(set.meet(id(6), || print("aa"), 3), Met::Outdated(_)));
        assert_eq!(set.meet(id(7), || print("aa"), 2), Met::Nothing, "it is let go");
        assert_eq!(set.meet(id(5), || print("bb"), 2), Met::Nothing);
        assert!(set.is_of(3) && !set.is_of(4));
    }

    #[test]
    fn s0_14_what_one_of_several_equal_blocks_lets_go_none_stops() {
        let id = |n| MessageId(Uuid::from_u128(n));
        let with = |n: u128, lets: Option<MessageId>| Block {
            quarantined: Uuid::from_u128(n),
            lets,
            ..block(BlockBy::Fingerprint, "aa")
        };
        for order in [[1, 2], [2, 1]] {
            let blocks = order.map(|n| with(n, (n == 1).then(|| id(7)))).to_vec();
            let set = Blocks::at(3, blocks);
            assert_eq!(set.meet(id(7), || "aa".to_owned(), 2), Met::Nothing, "{order:?}");
            assert!(matches!(set.meet(id(8), || "aa".to_owned(), 2), Met::Blocked(_)));
        }
        let old = Block { definition_version: 1, ..with(3, None) };
        let set = Blocks::at(3, vec![with(2, None), old]);
        assert!(matches!(set.meet(id(8), || "aa".to_owned(), 2), Met::Blocked(_)), "tried by now");
    }

    #[test]
    fn an_empty_set_never_asks_for_a_fingerprint() {
        let set = Blocks::at(0, Vec::new());
        let asked = || -> String { panic!("nothing is blocked") };
        assert_eq!(set.meet(MessageId(Uuid::nil()), asked, 1), Met::Nothing);
        let ids = Blocks::at(0, vec![block(BlockBy::Id, &Uuid::from_u128(9).to_string())]);
        let asked = || -> String { panic!("only ids are blocked") };
        let met = ids.meet(MessageId(Uuid::from_u128(9)), asked, 2);
        assert!(matches!(met, Met::Blocked(_)));
    }
}
