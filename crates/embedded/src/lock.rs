//! One process at a time: an exclusive lock on a file beside the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use knarr_model::ports::Clock;

use crate::error::Error;

/// The lock; given back when dropped, and by the system when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How often a held lock is asked for again.
const STEP: Duration = Duration::from_millis(20);

impl Lock {
    /// Takes the lock of the database at `path`, waiting up to `wait` for its holder to end.
    pub(crate) async fn take(
        path: &Path,
        wait: Duration,
        clock: &dyn Clock,
    ) -> Result<Lock, Error> {
        let beside = beside(path);
        let unusable = |why: std::io::Error| Error::Unusable {
            path: path.to_owned(),
            why: format!("{}: {why}", beside.display()),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&beside)
            .map_err(unusable)?;
        let until = clock.monotonic() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if clock.monotonic() < until => {
                    clock.sleep(STEP).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked { path: path.to_owned(), holder: holder(&mut file) });
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
        // The number is for the message that a second process prints; the lock itself is the truth.
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Lock { _file: file })
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
        _ => "another process".to_owned(),
    }
}
