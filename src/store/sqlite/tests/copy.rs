//! Copies of the file.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::super::backup::put;
use super::*;

#[test]
fn others_may_not_read_a_backup_while_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    wait(ledger.write(made("a"))).unwrap();
    wait(ledger.write(said("a", &message(1, None)))).unwrap();
    let db = Connection::open(ledger.path()).unwrap();
    // Enough of it to be seen.
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO messages (room, id, from_peer, text, at, sender)
         SELECT room, id || i, from_peer, hex(randomblob(500)), at, sender FROM messages, n",
    )
    .unwrap();
    let copied = |to: &Path| {
        let (over, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let half = file::beside(to, &format!(".half-{}", std::process::id()));
                while !over.load(Relaxed) {
                    if let Ok(meta) = std::fs::metadata(&half) {
                        seen.lock().unwrap().push((meta.permissions().mode(), meta.len()));
                    }
                }
            });
            backup(ledger.path(), to).unwrap();
            over.store(true, Relaxed);
        });
        let seen = seen.into_inner().unwrap();
        for (mode, bytes) in &seen {
            assert_eq!(mode & 0o027, 0, "{mode:o} with {bytes} bytes in it");
        }
        assert_eq!(std::fs::metadata(to).unwrap().permissions().mode() & 0o777, 0o640);
        seen.iter().any(|(_, bytes)| *bytes > 0)
    };
    // Whoever looks may have been asleep meanwhile.
    let seen = (0..20).any(|n| copied(&folder.path().join(format!("copy-{n}.db"))));
    assert!(seen, "it was not seen at all");
}

#[test]
fn what_somebody_else_has_left_half_done_is_not_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_in(&folder);
    let to = folder.path().join("copy.db");
    let half = file::beside(&to, &format!(".half-{}", std::process::id()));
    std::fs::write(&half, "mine").unwrap();
    let why = backup(ledger.path(), &to).unwrap_err();
    assert!(why.0.contains("half-"), "{why}");
    assert_eq!(std::fs::read_to_string(&half).unwrap(), "mine");
    assert!(!to.exists());
}

#[test]
fn where_files_cannot_be_linked_a_copy_has_its_name_all_the_same_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [half, to] = ["half", "to"].map(|name| folder.path().join(name));
    let cannot = |_: &Path, _: &Path| Err(io::Error::from_raw_os_error(libc::EPERM));
    std::fs::write(&half, "copy").unwrap();
    put(&half, &to, cannot).unwrap();
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "copy");
    std::fs::write(&half, "another").unwrap();
    for link in [cannot, |half: &Path, to: &Path| std::fs::hard_link(half, to)] {
        let error = put(&half, &to, link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "copy");
    }
    // It cannot be put there at all: nothing is left behind.
    std::fs::remove_file(&to).unwrap();
    std::fs::remove_file(&half).unwrap();
    assert!(put(&half, &to, cannot).is_err());
    assert!(!to.exists());
}
