//! Small disks that one database server sees, and that a test fills and frees.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::{User, alive, spawn_detached, wait_until};

/// Megabytes of each disk.
const SIZES: [(Disk, u32); 2] = [(Disk::Data, 96), (Disk::Log, 48)];

/// One of the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Tables and indexes.
    Data,
    /// The write-ahead log.
    Log,
}

impl Disk {
    fn folder(self) -> &'static str {
        match self {
            Disk::Data => "heap",
            Disk::Log => "wal",
        }
    }
}

/// Disks in memory, in a mount namespace that lives as long as one process of ours sleeps in it:
/// nothing of them is left behind, whatever becomes of the test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disks {
    dir: PathBuf,
    holder: u32,
}

impl Disks {
    /// Makes the disks below `dir`, owned by `user`.
    ///
    /// # Panics
    /// When this process may not mount.
    pub(super) fn mount(dir: &Path, user: Option<User>) -> Disks {
        let owner = user.map(|user| format!(",uid={},gid={}", user.uid, user.gid));
        let owner = owner.unwrap_or_default();
        let mut script = String::from("set -e; ");
        for (disk, size) in SIZES {
            let at = dir.join(disk.folder());
            fs::create_dir_all(&at).expect("our own folder");
            let at = at.display();
            script += &format!("mount -t tmpfs -o size={size}m,mode=700{owner} knarr '{at}'; ");
        }
        script += "exec sleep infinity";
        let command = ["unshare", "-m", "--propagation", "private", "sh", "-c", &script];
        let log = dir.join("disks");
        let holder = spawn_detached(&command, &[], None, &log).expect("unshare, of util-linux");
        let disks = Disks { dir: dir.to_owned(), holder };
        let last = dir.join(Disk::Log.folder()).display().to_string();
        let mounts = || fs::read_to_string(format!("/proc/{holder}/mounts")).unwrap_or_default();
        let up = wait_until(Duration::from_secs(10), || mounts().contains(&last) || !alive(holder));
        assert!(
            up && alive(holder),
            "disks cannot be mounted here, run this as root (tests/run in a container does): {}",
            fs::read_to_string(&log).unwrap_or_default().trim()
        );
        disks
    }

    /// What stands before a command that is to see the disks, as `user`.
    pub(super) fn entry(&self, user: Option<User>) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.holder)];
        if let Some(User { uid, gid }) = user {
            words.extend(["setpriv".to_owned(), "--clear-groups".to_owned()]);
            words.extend([format!("--reuid={uid}"), format!("--regid={gid}")]);
        }
        words
    }

    pub(super) fn holder(&self) -> u32 {
        self.holder
    }

    /// Where the server's log goes.
    pub(super) fn log_folder(&self) -> String {
        self.dir.join(Disk::Log.folder()).join("pg_wal").display().to_string()
    }

    /// Where a tablespace on the data disk goes, as the server sees it.
    pub fn data_folder(&self) -> String {
        self.dir.join(Disk::Data.folder()).display().to_string()
    }

    /// Leaves no byte free.
    pub fn fill(&self, disk: Disk) {
        let mut ballast = File::create(self.ballast(disk)).expect("the disk is mounted");
        let block = vec![0_u8; 1 << 16];
        let mut written = 0_u64;
        while ballast.write_all(&block).is_ok() {
            written += 1;
        }
        assert!(written > 0, "{disk:?} was full already");
    }

    /// Takes away what `fill` has put there.
    pub fn free(&self, disk: Disk) {
        fs::remove_file(self.ballast(disk)).expect("it was filled");
    }

    /// As this process sees it.
    fn ballast(&self, disk: Disk) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder));
        let inside = self.dir.strip_prefix("/").expect("an absolute path");
        root.join(inside).join(disk.folder()).join("ballast")
    }
}
