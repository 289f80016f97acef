//! The token tree: calls → endpoint → saga instance → call, and beside it the process. A background
//! service owns it; whoever starts a workflow does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_model::{CancellationToken, InstanceId, Name, RowId};
use parking_lot::Mutex;

/// All cancellation tokens of one process. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    process: CancellationToken,
    /// Above every call: they may outlast the intake of a process that stops.
    calls: CancellationToken,
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    endpoints: BTreeMap<Name, CancellationToken>,
    instances: BTreeMap<(Name, InstanceId), Branch>,
    calls: BTreeMap<RowId, CancellationToken>,
}

struct Branch {
    token: CancellationToken,
    calls: usize,
}

impl Tokens {
    /// A tree for a process that stops when `process` is cancelled.
    pub fn new(process: CancellationToken) -> Self {
        Tokens { process, calls: CancellationToken::new(), tree: Arc::default() }
    }

    /// Cancelled when the process is asked to stop: nothing new is begun. Calls in flight go on until
    /// [`Tokens::give_up_calls`].
    pub fn process(&self) -> &CancellationToken {
        &self.process
    }

    /// The endpoint's token; a new one after [`Tokens::halt`].
    pub fn endpoint(&self, endpoint: &Name) -> CancellationToken {
        let mut tree = self.tree.lock();
        tree.endpoint(&self.calls, endpoint)
    }

    /// Cancels every call, those that would begin later included: the process is about to end.
    pub fn give_up_calls(&self) {
        self.calls.cancel();
    }

    /// Cancels everything of an endpoint that is in flight, and says how many calls that were; what
    /// begins later gets new tokens.
    pub fn halt(&self, endpoint: &Name) -> usize {
        let (token, running): (_, Vec<_>) = {
            let mut tree = self.tree.lock();
            let running = tree.calls.values().filter(|call| !call.is_cancelled()).cloned();
            let running = running.collect();
            (tree.endpoints.remove(endpoint), running)
        };
        let Some(token) = token else { return 0 };
        token.cancel();
        running.iter().filter(|call| call.is_cancelled()).count()
    }

    /// A token for one attempt at a call; given back by dropping what is returned.
    pub fn call(
        &self,
        endpoint: &Name,
        saga: &Name,
        instance: InstanceId,
        row: RowId,
    ) -> CallToken {
        let mut tree = self.tree.lock();
        let parent = tree.endpoint(&self.calls, endpoint);
        let key = (saga.clone(), instance);
        let branch = tree
            .instances
            .entry(key.clone())
            .or_insert_with(|| Branch { token: parent.child_token(), calls: 0 });
        if branch.token.is_cancelled() {
            branch.token = parent.child_token();
        }
        branch.calls += 1;
        let token = branch.token.child_token();
        tree.calls.insert(row, token.clone());
        CallToken { tokens: self.clone(), key, row, token }
    }

    /// Cancels one call where it runs, if it runs here.
    pub fn cancel_call(&self, row: RowId) {
        let token = self.tree.lock().calls.get(&row).cloned();
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// Cancels every call of an instance that runs here.
    pub fn cancel_instance(&self, saga: &Name, instance: InstanceId) {
        let key = (saga.clone(), instance);
        let token = self.tree.lock().instances.get(&key).map(|branch| branch.token.clone());
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// The rows of the calls that run here.
    pub fn running(&self) -> Vec<RowId> {
        self.tree.lock().calls.keys().copied().collect()
    }

    /// Calls in flight.
    pub fn calls_in_flight(&self) -> usize {
        self.tree.lock().calls.len()
    }
}

impl Tree {
    fn endpoint(&mut self, calls: &CancellationToken, name: &Name) -> CancellationToken {
        let token = self.endpoints.entry(name.clone()).or_insert_with(|| calls.child_token());
        token.clone()
    }
}

/// The token of one attempt at a call. Dropping it takes the attempt out of the tree.
pub struct CallToken {
    tokens: Tokens,
    key: (Name, InstanceId),
    row: RowId,
    token: CancellationToken,
}

impl CallToken {
    /// What the attempt listens to.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for CallToken {
    fn drop(&mut self) {
        let mut tree = self.tokens.tree.lock();
        tree.calls.remove(&self.row);
        let empty = tree.instances.get_mut(&self.key).is_some_and(|branch| {
            branch.calls -= 1;
            branch.calls == 0
        });
        if empty {
            tree.instances.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn name(text: &str) -> Name {
        Name::from(text)
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn s0_10_cancelling_a_parent_reaches_every_call_in_flight() {
        let tokens = Tokens::new(CancellationToken::new());
        let here = tokens.call(&name("e"), &name("s"), id(1).into(), id(10).into());
        let other = tokens.call(&name("e"), &name("s"), id(2).into(), id(20).into());
        let elsewhere = tokens.call(&name("f"), &name("s"), id(3).into(), id(30).into());
        tokens.cancel_instance(&name("s"), id(1).into());
        assert!(here.token().is_cancelled() && !other.token().is_cancelled());
        assert_eq!(tokens.halt(&name("e")), 1, "one of its two was cancelled before");
        assert!(other.token().is_cancelled() && !elsewhere.token().is_cancelled());
        tokens.process().cancel();
        assert!(!elsewhere.token().is_cancelled(), "a stop lets calls end for a while");
        tokens.give_up_calls();
        assert!(elsewhere.token().is_cancelled());
        let late = tokens.call(&name("g"), &name("s"), id(4).into(), id(40).into());
        assert!(late.token().is_cancelled());
    }

    #[test]
    fn s0_11_the_tree_outlives_whoever_asked_and_forgets_what_ended() {
        let tokens = Tokens::new(CancellationToken::new());
        let call = tokens.call(&name("e"), &name("s"), id(1).into(), id(10).into());
        assert_eq!(tokens.calls_in_flight(), 1);
        drop(call);
        assert_eq!(tokens.calls_in_flight(), 0);
        assert!(tokens.tree.lock().instances.is_empty());
    }

    #[test]
    fn after_a_halt_new_calls_get_live_tokens() {
        let tokens = Tokens::new(CancellationToken::new());
        let before = tokens.call(&name("e"), &name("s"), id(1).into(), id(10).into());
        tokens.halt(&name("e"));
        let after = tokens.call(&name("e"), &name("s"), id(1).into(), id(11).into());
        assert!(before.token().is_cancelled() && !after.token().is_cancelled());
    }
}
