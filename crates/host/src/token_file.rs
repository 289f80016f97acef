//! The admin token that is made at the first start and kept in the data directory.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use knarr_admin::Token;
use knarr_model::ports::Clock;

use crate::error::Error;

/// A token and whether it was made just now.
pub(crate) struct Kept {
    pub(crate) token: Token,
    pub(crate) is_new: bool,
}

/// Where the token lies.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin-token")
}

/// The token of this data directory; made, readable by its owner alone, if there is none.
pub(crate) fn find_or_make(data_dir: &Path, clock: &dyn Clock) -> Result<Kept, Error> {
    let path = path(data_dir);
    let failed = |what: &str, error: &std::io::Error| {
        Error::wrong("KNARR_DATA_DIR", format!("cannot {what} {}: {error}", path.display()))
    };
    std::fs::create_dir_all(data_dir).map_err(|error| failed("make the folder of", &error))?;
    if let Some(token) = usable(&path, read(data_dir).map_err(|error| failed("read", &error))?)? {
        return Ok(Kept { token, is_new: false });
    }
    let text = fresh(clock);
    let is_new = put(&path, &text).map_err(|error| failed("write", &error))?;
    let token = read(data_dir).map_err(|error| failed("read", &error))?;
    match usable(&path, token)? {
        Some(token) => Ok(Kept { token, is_new }),
        None => Err(failed("keep", &ErrorKind::NotFound.into())),
    }
}

/// A file that is there and holds no token is not replaced: somebody may have meant something by it.
fn usable(path: &Path, token: Option<Token>) -> Result<Option<Token>, Error> {
    if token.is_none() && path.exists() {
        let why = format!("{} holds no token; delete it to get a new one", path.display());
        return Err(Error::wrong("KNARR_ADMIN_TOKEN", why));
    }
    Ok(token)
}

/// Writes the file as a whole; `false` when another process was first, whose token counts then.
fn put(path: &Path, text: &str) -> std::io::Result<bool> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = new_file(&draft)?;
    let linked = file
        .write_all(format!("{text}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&draft, path));
    std::fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The token that lies in this data directory, if one does.
pub(crate) fn read(data_dir: &Path) -> std::io::Result<Option<Token>> {
    let mut text = String::new();
    match File::open(path(data_dir)) {
        Ok(file) => {
            file.take(4096).read_to_string(&mut text)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Token::new(text.trim()).ok())
}

fn new_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// 192 random bits. Random numbers of the clock port come from the system's own source.
fn fresh(clock: &dyn Clock) -> String {
    // A bound of 2^16 leaves the upper 16 of 32 random bits, all of them equally likely.
    (0..12).map(|_| format!("{:04x}", clock.random(1 << 16))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_token_is_made_once_kept_and_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        assert!(read(&data_dir).expect("no folder is no error").is_none());
        let clock = SystemClock::new();
        let first = find_or_make(&data_dir, &clock).expect("made");
        assert!(first.is_new);
        assert_eq!(first.token.reveal().len(), 48);
        let second = find_or_make(&data_dir, &clock).expect("found");
        assert!(!second.is_new);
        assert_eq!(first.token.reveal(), second.token.reveal());
        #[cfg(unix)]
        {
            let meta = std::fs::metadata(path(&data_dir)).expect("a file");
            let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_without_a_token_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(path(folder.path()), "short").expect("written");
        let error = find_or_make(folder.path(), &SystemClock::new()).err().expect("refused");
        assert!(error.to_string().contains("holds no token"), "{error}");
    }
}
