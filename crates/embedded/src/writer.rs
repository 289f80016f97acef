//! The one writer: it owns the only writing connection and joins what waits into one transaction.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::ports::Clock;
use parking_lot::Mutex;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::lock::Lock;

/// What a piece of writing answers.
pub(crate) enum Ended<T> {
    /// What it wrote is to be kept.
    Kept(T),
    /// What it wrote is undone; the answer stands.
    Undone(T),
}

/// Which of the two lines a piece waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Halt, resume, purge: before everything that waits.
    Control,
    /// Everything else, in order.
    Ordinary,
}

type Work<T> = Box<
    dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Ended<T>, Error>> + Send,
>;
type Answer<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// One piece of writing, all or nothing, whatever shares its transaction.
trait Piece: Send {
    /// Does the writing inside an open savepoint. `Ok(false)`: undo it.
    fn run<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<bool, Error>>;
    /// Tells the caller, once it is known whether the transaction is durable.
    fn finish(self: Box<Self>, end: Result<(), Error>);
}

struct Typed<T> {
    work: Option<Work<T>>,
    answer: Answer<T>,
    result: Option<Result<T, Error>>,
}

impl<T: Send> Piece for Typed<T> {
    fn run<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let Some(work) = self.work.take() else { return Ok(false) };
            let (keep, result) = match work(connection).await {
                Ok(Ended::Kept(value)) => (true, Ok(value)),
                Ok(Ended::Undone(value)) => (false, Ok(value)),
                Err(error) => (false, Err(error)),
            };
            self.result = Some(result);
            Ok(keep)
        }
        .boxed()
    }

    fn finish(self: Box<Self>, end: Result<(), Error>) {
        (self.answer)(match (self.result, end) {
            // An error of its own says more than one of the transaction it shared.
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(shared)) => Err(shared),
            (None, Ok(())) => Err(Error::closed()),
        });
    }
}

enum Order {
    Write { piece: Box<dyn Piece>, can_wait: bool },
    Close(oneshot::Sender<()>),
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    control: mpsc::Sender<Order>,
    ordinary: mpsc::Sender<Order>,
    trouble: Trouble,
}

/// Why the last transaction failed, if it did.
type Trouble = Arc<Mutex<Option<String>>>;

/// How the writer groups what waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grouping {
    /// Pieces that may wait in a line.
    pub(crate) waiting: usize,
    /// Pieces in one transaction.
    pub(crate) most: usize,
    /// How long pieces that can wait may wait for company.
    pub(crate) linger: Duration,
}

impl Writer {
    /// Starts the writer on its connection; `lock` is let go when it has ended.
    pub(crate) fn start(
        connection: SqliteConnection,
        lock: Lock,
        grouping: Grouping,
        clock: Arc<dyn Clock>,
    ) -> Writer {
        let (control, urgent) = mpsc::channel(grouping.waiting.max(1));
        let (ordinary, waiting) = mpsc::channel(grouping.waiting.max(1));
        let trouble = Trouble::default();
        let told = trouble.clone();
        let desk = Desk { connection, urgent, waiting, grouping, clock, trouble: told };
        tokio::spawn(async move {
            let told = desk.run().await;
            drop(lock);
            for tell in told {
                // Whoever asked may have gone; the file is closed all the same.
                let _ = tell.send(());
            }
        });
        Writer { control, ordinary, trouble }
    }

    /// Writes, and answers when it is durable (or undone).
    pub(crate) async fn write<T, F>(&self, urgency: Urgency, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Ended<T>, Error>>
            + Send
            + 'static,
    {
        let (tell, told) = oneshot::channel();
        let answer = move |result| {
            // The caller may have stopped waiting; the write stands all the same.
            let _ = tell.send(result);
        };
        let piece = Typed { work: Some(Box::new(work)), answer: Box::new(answer), result: None };
        let line = match urgency {
            Urgency::Control => &self.control,
            Urgency::Ordinary => &self.ordinary,
        };
        let order = Order::Write { piece: Box::new(piece), can_wait: false };
        line.send(order).await.map_err(|_| Error::closed())?;
        told.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Hands over something that need not be durable at once; `end` hears what became of it.
    pub(crate) async fn later<F, E>(&self, work: F, end: E)
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Ended<()>, Error>>
            + Send
            + 'static,
        E: FnOnce(Result<(), Error>) + Send + 'static,
    {
        let piece = Typed { work: Some(Box::new(work)), answer: Box::new(end), result: None };
        let order = Order::Write { piece: Box::new(piece), can_wait: true };
        if let Err(mpsc::error::SendError(Order::Write { piece, .. })) =
            self.ordinary.send(order).await
        {
            piece.finish(Err(Error::closed()));
        }
    }

    /// Why the last transaction failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Ends the writer after everything that waits now; the lock is free when this returns.
    pub(crate) async fn close(&self) {
        let (tell, told) = oneshot::channel();
        if self.ordinary.send(Order::Close(tell)).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            let _ = told.await;
        }
    }
}

struct Desk {
    connection: SqliteConnection,
    urgent: mpsc::Receiver<Order>,
    waiting: mpsc::Receiver<Order>,
    grouping: Grouping,
    clock: Arc<dyn Clock>,
    trouble: Trouble,
}

impl Desk {
    /// Serves until it is told to close, or until nobody can write any more. Returns whom to tell.
    async fn run(mut self) -> Vec<oneshot::Sender<()>> {
        let mut closers = Vec::new();
        while closers.is_empty() {
            let order = tokio::select! {
                biased;
                Some(order) = self.urgent.recv() => order,
                Some(order) = self.waiting.recv() => order,
                else => break,
            };
            match order {
                Order::Close(tell) => closers.push(tell),
                Order::Write { piece, can_wait } => self.round(piece, can_wait, &mut closers).await,
            }
        }
        self.urgent.close();
        self.waiting.close();
        while let Ok(order) = self.waiting.try_recv() {
            match order {
                Order::Close(tell) => closers.push(tell),
                Order::Write { piece, .. } => piece.finish(Err(Error::closed())),
            }
        }
        // Folding the log into the file saves the next start the work; it is not needed to be safe.
        for last in ["PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = sqlx::query(last).execute(&mut self.connection).await {
                tracing::debug!(%error, "{last}");
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the embedded store's file did not close cleanly");
        }
        closers
    }

    /// One transaction: the first piece and whatever waits behind it.
    async fn round(
        &mut self,
        first: Box<dyn Piece>,
        can_wait: bool,
        closers: &mut Vec<oneshot::Sender<()>>,
    ) {
        let mut done: Vec<Box<dyn Piece>> = Vec::new();
        let mut pieces = vec![first];
        if can_wait {
            let order = tokio::select! {
                biased;
                Some(order) = self.urgent.recv() => Some(order),
                Some(order) = self.waiting.recv() => Some(order),
                () = self.clock.sleep(self.grouping.linger) => None,
            };
            // What came later is taken first: it is somebody's who waits for it.
            match order {
                Some(Order::Write { piece, .. }) => pieces.push(piece),
                Some(Order::Close(tell)) => closers.push(tell),
                None => {}
            }
        }
        let mut end = execute(&mut self.connection, BEGIN).await;
        while end.is_ok() {
            let Some(mut piece) = pieces.pop().or_else(|| self.next(done.len(), closers)) else {
                break;
            };
            end = savepoint(&mut self.connection, piece.as_mut(), done.is_empty()).await;
            done.push(piece);
        }
        if end.is_ok() {
            end = execute(&mut self.connection, COMMIT).await;
        }
        if let Err(error) = &end {
            tracing::warn!(%error, "a transaction of the embedded store failed");
            // After some errors SQLite has rolled back by itself; then this one says so.
            let _ = execute(&mut self.connection, "ROLLBACK").await;
        }
        *self.trouble.lock() = end.as_ref().err().map(Error::to_string);
        for piece in done.into_iter().chain(pieces) {
            piece.finish(end.clone());
        }
    }

    fn next(
        &mut self,
        taken: usize,
        closers: &mut Vec<oneshot::Sender<()>>,
    ) -> Option<Box<dyn Piece>> {
        if taken >= self.grouping.most || !closers.is_empty() {
            return None;
        }
        match self.urgent.try_recv().or_else(|_| self.waiting.try_recv()) {
            Ok(Order::Write { piece, .. }) => Some(piece),
            Ok(Order::Close(tell)) => {
                closers.push(tell);
                None
            }
            Err(_) => None,
        }
    }
}

/// Every command is a hand-over to the connection's thread and back, so they are few: the first
/// savepoint comes with the transaction, the last one goes with it.
const BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT piece";
const NEXT: &str = "RELEASE piece; SAVEPOINT piece";
const UNDO: &str = "ROLLBACK TO piece";
const COMMIT: &str = "COMMIT";

/// Runs one piece so that undoing it leaves the others of its transaction alone.
async fn savepoint(
    connection: &mut SqliteConnection,
    piece: &mut dyn Piece,
    first: bool,
) -> Result<(), Error> {
    if !first {
        execute(connection, NEXT).await?;
    }
    if !piece.run(connection).await? {
        execute(connection, UNDO).await?;
    }
    Ok(())
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}
