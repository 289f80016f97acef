//! Texts of every kind, drawn by a fixed seed: each is kept as it is, or refused as data.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use knarr_model::commit::{JournalRow, KeyWrite, Slice};
use knarr_model::envelope::Envelope;
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::instance::Instance;
use knarr_model::quarantine::{Class, Quarantined};
use knarr_model::work::{ActivityTask, Outgoing, Parked, ParkedReason, Timer};

use super::exact::json;
use super::stores::Stores;
use super::world::{World, kept, key, raw};

/// How many texts are drawn.
const TEXTS: usize = 60;
/// Far beyond what fits into a page or an index.
const LARGE: usize = 1 << 20;

/// Numbers that look random and come again: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    /// Mostly characters that stores have been seen to spoil, now and then any at all.
    fn character(&mut self) -> char {
        const HARD: [char; 16] = [
            '\0',
            '\'',
            '"',
            '\\',
            '%',
            '\n',
            '\r',
            '\u{7f}',
            '\u{85}',
            '\u{feff}',
            '\u{202e}',
            '\u{fffd}',
            '\u{ffff}',
            '\u{10ffff}',
            '🐟',
            ' ',
        ];
        match self.below(3) {
            0 => HARD[self.below(16) as usize],
            1 => char::from(b'a' + self.below(26) as u8),
            _ => char::from_u32(self.below(0x11_0000) as u32).unwrap_or('\u{1}'),
        }
    }

    fn text(&mut self) -> String {
        let longest = [1, 8, 64, 3_000, 20_000][self.below(5) as usize];
        let length = self.below(longest + 1);
        (0..length).map(|_| self.character()).collect()
    }
}

/// A step with this text wherever one comes from outside: from messages, errors, sagas.
fn slice(world: &World, text: &str) -> Slice {
    let id = InstanceId(world.id());
    let value = raw(&json(&text));
    let row = JournalRow {
        event: text.to_owned(),
        to_state: Some(text.to_owned()),
        ..world.applied(id, 1)
    };
    let write = KeyWrite {
        key: key("number", text),
        generation: 1,
        free: false,
        by: MessageId(world.id()),
        by_start: true,
    };
    let envelope = Envelope {
        message: value.clone(),
        response_address: Some(text.to_owned()),
        ..world.envelope()
    };
    let aside = Quarantined {
        errors: vec![text.to_owned()],
        reason: text.to_owned(),
        body: Bytes::copy_from_slice(text.as_bytes()),
        ..world.quarantined(Class::Exhausted)
    };
    Slice {
        instance: Some(Instance {
            state: text.to_owned(),
            data: value.clone(),
            ..world.instance(id, 1)
        }),
        journal: vec![row],
        keys: vec![write],
        timers: vec![Timer { name: text.to_owned(), ..world.timer(id, -1_000) }],
        tasks: vec![ActivityTask { payload: value, ..world.call(id, "Look", -1_000) }],
        parked: vec![Parked {
            message_id: envelope.message_id,
            envelope: Arc::new(envelope),
            error: Some(text.to_owned()),
            ..world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000))
        }],
        outgoing: vec![Outgoing {
            routing_key: text.to_owned(),
            body: Bytes::copy_from_slice(text.as_bytes()),
            ..world.outgoing(id, 1)
        }],
        quarantine: vec![aside],
        ..world.step(id, 1)
    }
}

/// No text is an outage: a store that asks for the same once more would be asked for ever.
pub async fn row_053_whatever_text_comes_is_kept_whole_or_refused_as_data(stores: Stores) {
    let world = World::new(stores).await;
    let mut numbers = Numbers(53);
    // Each once: they are keys, too.
    let mut texts: BTreeSet<String> = (0..TEXTS).map(|_| numbers.text()).collect();
    texts.extend([String::new(), "x".repeat(LARGE), "\0".repeat(4_000)]);
    for text in texts {
        let slice = slice(&world, &text);
        let id = slice.key.expect("it is an instance's");
        let commit = world.commit_of(vec![slice.clone()]).await;
        let shown: String = text.chars().take(40).collect();
        match world.store().commit(commit).await {
            Ok(outcome) => assert_eq!(kept(outcome).len(), 1, "{shown:?}"),
            Err(error) if error.is_data() => {
                assert_eq!(world.version(id).await, 0, "nothing of what was refused is there");
                continue;
            }
            Err(error) => panic!("{} bytes, {shown:?}: {error}", text.len()),
        }
        assert_eq!(json(&world.read(id).await), json(&slice.instance), "{shown:?}");
        let row = world.key_row(&slice.keys[0].key).await.map(|row| row.instance);
        assert_eq!(row, Some(id), "{shown:?}");
        let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
        let detail = detail.expect("it is there");
        assert_eq!(json(&detail.journal), json(&slice.journal), "{shown:?}");
        assert_eq!(json(&detail.timers), json(&slice.timers), "{shown:?}");
        assert_eq!(json(&detail.calls), json(&slice.tasks), "{shown:?}");
        assert_eq!(json(&detail.parked), json(&slice.parked), "{shown:?}");
        let aside = &slice.quarantine[0];
        let found = world.stores.records.quarantined(aside.id).await.expect("it is read");
        assert_eq!(json(&found), json(&Some(aside)), "{shown:?}");
        assert_eq!(found.map(|found| found.body), Some(aside.body.clone()), "{shown:?}");
    }
    // Each was refused or kept; the store serves on either way.
    assert_eq!(world.version(world.born().await).await, 1);
}
