//! Whether a file has changed: what is looked at, every few seconds, of those that are watched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What changes with a file's content. The time of its last change of mode counts as well: a file that could not be read
/// may have become readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file as it is now, through symbolic links: renewal often swaps those. `None`: there is none, or not for us.
    #[must_use]
    pub fn of(path: &Path) -> Option<Stamp> {
        let about = fs::metadata(path).ok()?;
        Some(Stamp {
            inode: (about.dev(), about.ino()),
            length: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}
