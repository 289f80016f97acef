//! Concurrent work on tokio's runtime; decisions on threads of their own, one a lane.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::ports::Spawn;
use knarr_model::ports::spawn::LaneThread;
use tokio::sync::{mpsc, oneshot};

/// Starts the parts of an engine and notices when one of them breaks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spawner {
    broken: Arc<AtomicBool>,
}

impl Spawner {
    /// Whether a part ended in a panic: the process is no longer whole and must be restarted.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Spawn for Spawner {
    fn spawn(&self, name: &str, future: BoxFuture<'static, ()>) {
        let (name, broken) = (name.to_owned(), self.broken.clone());
        tokio::spawn(async move {
            if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                tracing::error!(part = %name, "a part of the engine panicked");
                broken.store(true, Ordering::Relaxed);
            }
        });
    }

    fn lane_thread(&self, name: &str) -> Box<dyn LaneThread> {
        // A lane has one piece of work under way at a time.
        let (door, mut work) = mpsc::channel::<Piece>(1);
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(piece) = work.blocking_recv() {
                (piece.run)();
                // Nobody waits any longer when the lane has given the decision up.
                let _abandoned = piece.done.send(());
            }
        });
        match started {
            Ok(_detached) => Box::new(Thread { door }),
            Err(error) => {
                tracing::error!("no thread for {name}, decisions block the runtime: {error}");
                Box::new(Inline)
            }
        }
    }
}

struct Piece {
    run: Box<dyn FnOnce() + Send>,
    done: oneshot::Sender<()>,
}

/// A thread that ends when it is dropped and its last piece of work is done.
struct Thread {
    door: mpsc::Sender<Piece>,
}

impl LaneThread for Thread {
    fn run(&self, run: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let door = self.door.clone();
        async move {
            let (done, ended) = oneshot::channel();
            if door.send(Piece { run, done }).await.is_err() || ended.await.is_err() {
                // The work panicked and took its thread along: this wait has no end, and the
                // lane's deadline replaces the thread.
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// What is left when the system gives no more threads.
struct Inline;

impl LaneThread for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        async move { work() }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_lanes_work_runs_in_order_on_its_own_thread() {
        let lane = Spawner::default().lane_thread("lane test-0");
        let seen = Arc::new(Mutex::new(Vec::new()));
        for n in 0..20 {
            let seen = seen.clone();
            lane.run(Box::new(move || {
                let name = std::thread::current().name().map(str::to_owned);
                seen.lock().expect("lock").push((n, name));
            }))
            .await;
        }
        let seen = seen.lock().expect("lock");
        assert!(seen.iter().map(|(n, _)| *n).eq(0..20));
        assert!(seen.iter().all(|(_, name)| name.as_deref() == Some("lane test-0")));
    }

    #[tokio::test]
    async fn a_part_that_panics_is_noticed() {
        let spawner = Spawner::default();
        let (told, ended) = oneshot::channel::<()>();
        spawner.spawn(
            "breaks",
            async move {
                drop(told);
                panic!("on purpose");
            }
            .boxed(),
        );
        let _dropped = ended.await;
        while !spawner.is_broken() {
            tokio::task::yield_now().await;
        }
    }
}
