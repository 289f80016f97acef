//! How the engine starts concurrent work, so that a simulator can run it all on one thread.

use futures_util::future::BoxFuture;

/// Starts tasks and runs decisions.
pub trait Spawn: Send + Sync {
    /// Runs `future` beside the caller until it ends. `name` is for people.
    fn spawn(&self, name: &str, future: BoxFuture<'static, ()>);

    /// Makes a thread that runs decisions for one lane. Dropping it abandons a decision that runs.
    fn lane_thread(&self, name: &str) -> Box<dyn LaneThread>;
}

/// A thread owned by one lane. It runs one piece of work at a time, in order.
pub trait LaneThread: Send + Sync {
    /// Runs `work` on the thread. The future ends when it is done; dropping it abandons the wait,
    /// not the work.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}
