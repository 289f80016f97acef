//! Concurrent work of a story: all of it on the story's own thread, and gone with it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::ports::spawn::{LaneThread, Spawn};

/// Starts everything on the runtime of the story.
pub(super) struct HereSpawn;

impl Spawn for HereSpawn {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }

    fn lane_thread(&self, _name: &str) -> Box<dyn LaneThread> {
        Box::new(Here)
    }
}

struct Here;

impl LaneThread for Here {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        async {}.boxed()
    }
}
