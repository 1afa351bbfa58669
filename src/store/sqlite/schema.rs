//! The tables, and how a file of an older version comes to have them.

use rusqlite::Connection;
use rusqlite::TransactionBehavior;

use super::fault::Trouble;

/// Marks the file as ours (`PRAGMA application_id`): "cgat".
const APPLICATION: i32 = 0x6367_6174;

/// Step n brings a file from version n to n + 1 (`PRAGMA user_version`). A step that was released is never changed.
///
/// People read these tables with `sqlite3` while the daemon runs: ids are text as clients see them, times are milliseconds
/// since 1970, truths are 0 or 1.
const STEPS: [&str; 2] = [
    "
    CREATE TABLE rooms (
        id          TEXT    NOT NULL PRIMARY KEY,
        kind        TEXT    NOT NULL,
        name        TEXT,
        description TEXT,
        media       TEXT,
        creator     TEXT,
        private     INTEGER NOT NULL,
        listed      INTEGER NOT NULL,
        locked      INTEGER NOT NULL,
        lobby       INTEGER NOT NULL,
        auto_delete INTEGER NOT NULL,
        password    TEXT,
        capacity    INTEGER NOT NULL,
        created_at  INTEGER NOT NULL,
        maker       INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE people (
        room     TEXT    NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
        user     TEXT    NOT NULL,
        standing TEXT    NOT NULL,
        name     TEXT,
        since    INTEGER NOT NULL,
        PRIMARY KEY (room, user)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE messages (
        seq         INTEGER PRIMARY KEY,
        room        TEXT    NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
        id          TEXT    NOT NULL,
        from_peer   TEXT    NOT NULL,
        user        TEXT,
        name        TEXT,
        text        TEXT    NOT NULL,
        attachments TEXT,
        at          INTEGER NOT NULL,
        sender      TEXT    NOT NULL,
        client_id   TEXT
    ) STRICT;
    CREATE UNIQUE INDEX messages_by_id ON messages (room, id);
    CREATE INDEX messages_by_room ON messages (room);
    CREATE INDEX messages_by_time ON messages (at);
    CREATE UNIQUE INDEX messages_once ON messages (room, sender, client_id) WHERE client_id IS NOT NULL;

    CREATE TABLE calls (
        number        INTEGER PRIMARY KEY AUTOINCREMENT,
        room          TEXT    NOT NULL,
        kind          TEXT    NOT NULL,
        name          TEXT,
        started_at    INTEGER NOT NULL,
        ended_at      INTEGER NOT NULL,
        reason        TEXT    NOT NULL,
        relayed_bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX calls_by_room ON calls (room);
    CREATE INDEX calls_by_time ON calls (ended_at);

    CREATE TABLE participants (
        call      INTEGER NOT NULL REFERENCES calls (number) ON DELETE CASCADE,
        place     INTEGER NOT NULL,
        peer      TEXT    NOT NULL,
        user      TEXT,
        name      TEXT,
        joined_at INTEGER NOT NULL,
        left_at   INTEGER NOT NULL,
        PRIMARY KEY (call, place)
    ) STRICT, WITHOUT ROWID;
",
    // Who has invited somebody, and from where.
    "
    ALTER TABLE people ADD COLUMN inviter TEXT;
    ALTER TABLE people ADD COLUMN invited_from INTEGER;
",
];

/// Brings the tables up to date. A step is taken whole or not at all.
///
/// # Errors
/// The file cannot be written, is not ours, or is of a newer version than this program.
pub(super) fn migrate(db: &mut Connection) -> Result<(), Trouble> {
    loop {
        // Looked at within the transaction: another process may be at it too.
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = version(&step)?;
        let Some(sql) = STEPS.get(version) else { return Ok(()) };
        if version == 0 {
            is_empty(&step)?;
            step.pragma_update(None, "application_id", APPLICATION)?;
        }
        step.execute_batch(sql)?;
        step.execute_batch(&format!("PRAGMA user_version = {}", version + 1))?;
        step.commit()?;
    }
}

/// Whether it is ours, or nobody's yet, as far as reading tells.
///
/// # Errors
/// It is another program's, of a newer version, or no database.
pub(super) fn is_ours(db: &Connection) -> Result<(), Trouble> {
    if version(db)? == 0 { is_empty(db) } else { Ok(()) }
}

fn is_empty(db: &Connection) -> Result<(), Trouble> {
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Err(Trouble::NotOurs("it is the database of another program".into()));
    }
    Ok(())
}

/// Whether the tables are those of this version: then nothing has to be written to use them.
///
/// # Errors
/// As `migrate`.
pub(super) fn is_current(db: &Connection) -> Result<bool, Trouble> {
    version(db).map(|version| version == STEPS.len())
}

fn version(db: &Connection) -> Result<usize, Trouble> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if version != 0 && application != APPLICATION {
        return Err(Trouble::NotOurs("it is the database of another program".into()));
    }
    match usize::try_from(version) {
        Ok(version) if version <= STEPS.len() => Ok(version),
        _ => Err(Trouble::NotOurs(
            format!(
                "it is of version {version}, and this callgate knows versions up to {}: a newer callgate has made it",
                STEPS.len()
            )
            .into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements that made everything in it.
    fn shape(db: &Connection) -> Vec<String> {
        let mut all =
            db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let rows = all.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn at(version: usize) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        for sql in &STEPS[..version] {
            db.execute_batch(sql).unwrap();
        }
        if version > 0 {
            db.pragma_update(None, "application_id", APPLICATION).unwrap();
            db.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
        }
        db
    }

    #[test]
    fn every_older_version_comes_to_the_same_tables() {
        let wanted = shape(&at(STEPS.len()));
        assert!(wanted.len() > 5, "{wanted:?}");
        for old in 0..=STEPS.len() {
            let mut db = at(old);
            migrate(&mut db).unwrap();
            assert_eq!(shape(&db), wanted, "from version {old}");
            assert!(is_current(&db).unwrap());
            migrate(&mut db).unwrap();
        }
    }

    #[test]
    fn what_was_in_a_file_of_an_older_version_is_still_in_it() {
        for old in 1..=STEPS.len() {
            let mut db = at(old);
            db.execute_batch(
                "INSERT INTO rooms VALUES ('r', 'channel', 'Tea', NULL, NULL, 'amy', 0, 1, 0, 0, 0, NULL, 9, 5, 0);
                 INSERT INTO people (room, user, standing, name, since) VALUES ('r', 'amy', 'moderator', 'Amy', 5);
                 INSERT INTO messages (room, id, from_peer, text, at, sender) VALUES ('r', 'm', 'p', 'hello', 6, 'p');",
            )
            .unwrap();
            migrate(&mut db).unwrap();
            let kept: (String, String, String) = db
                .query_row(
                    "SELECT rooms.name, people.name, text FROM rooms JOIN people ON people.room = rooms.id
                     JOIN messages ON messages.room = rooms.id",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .unwrap();
            assert_eq!(kept, ("Tea".into(), "Amy".into(), "hello".into()), "from version {old}");
        }
    }

    #[test]
    fn a_newer_file_and_a_stranger_s_are_left_alone() {
        let mut newer = at(STEPS.len());
        newer.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len() + 1)).unwrap();
        let Err(Trouble::NotOurs(why)) = migrate(&mut newer) else { panic!("it was taken") };
        assert!(why.contains("newer callgate"), "{why}");
        for stranger in ["CREATE TABLE notes (x)", "CREATE TABLE notes (x); PRAGMA user_version = 1"] {
            let mut db = Connection::open_in_memory().unwrap();
            db.execute_batch(stranger).unwrap();
            let before = shape(&db);
            assert!(matches!(migrate(&mut db), Err(Trouble::NotOurs(_))), "{stranger}");
            assert_eq!(shape(&db), before);
        }
    }
}
