//! What is held for later.

use super::*;

#[test]
fn what_is_held_is_counted_as_it_is_written_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    drop(open_in(&folder));
    let path = folder.path().join("callgate.db");
    let db = file::write(&path, false).unwrap();
    db.execute_batch(
        "CREATE TRIGGER refuses BEFORE INSERT ON rooms WHEN NEW.id = 'bad' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .unwrap();
    let mut writer = Writer {
        identity: file::identity(&path),
        path,
        db: Some(db),
        queue: Arc::default(),
        figures: Arc::new(Figures::new(LATE)),
        tidy: Tidy::new(KEEP),
        held: VecDeque::new(),
        held_bytes: 0,
        failed: None,
    };
    let large = Message { text: "x".repeat(1 << 20).into(), ..message(1, None) };
    for record in [made("a"), made("bad"), said("a", &large), made("b")].into_iter().flatten() {
        writer.held_bytes += queue::weight(&record);
        writer.held.push_back(record);
    }
    let left: usize = writer.held.iter().skip(2).map(queue::weight).sum();
    // There is room for the first ones alone.
    let full = writer.db.as_ref().unwrap();
    let pages: i64 = full.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    full.query_row(&format!("PRAGMA max_page_count = {}", pages + 3), [], |_| Ok(())).unwrap();
    writer.try_again();
    let health = writer.figures.health(0);
    assert!(health.fault.unwrap().0.contains("the disk is full"));
    assert_eq!((health.records, health.given_up, health.waiting), (1, 1, 2));
    assert_eq!((writer.held.len(), writer.held_bytes), (2, left));
    // Opened anew, it knows of no bounds.
    writer.try_again();
    assert_eq!((writer.held.len(), writer.held_bytes), (0, 0));
    assert_eq!(writer.figures.health(0).waiting, 0);
}
