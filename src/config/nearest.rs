//! The known word that a mistyped one was probably meant to be.

/// The candidate with the fewest edits to `word`, if they are few enough to be a slip. A key written into the wrong
/// section counts as near.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let tail = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    // A key pasted from elsewhere may be as long as a file: no table of edits for that.
    if word.len() > 64 {
        return None;
    }
    let close = candidates.clone().map(|c| (distance(word, c), c)).min();
    if let Some((edits, found)) = close
        && edits <= 1 + word.len() / 6
    {
        return Some(found);
    }
    let name = tail(word);
    let mut same = candidates.filter(|c| tail(c) == name);
    let found = same.next()?;
    same.next().is_none().then_some(found)
}

/// Edits (insert, delete, replace) from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (b, cell) in to.iter().zip(row.iter_mut().skip(1)) {
            let best = (diagonal + usize::from(a != *b)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["turn.realm", "turn.relay_ports", "turn.listen", "http.listen"];

    #[test]
    fn a_slip_finds_its_word() {
        assert_eq!(nearest("turn.relm", KEYS.into_iter()), Some("turn.realm"));
        assert_eq!(nearest("turn.relay_port", KEYS.into_iter()), Some("turn.relay_ports"));
    }

    #[test]
    fn a_key_in_the_wrong_section_finds_its_section() {
        assert_eq!(nearest("relay_ports", KEYS.into_iter()), Some("turn.relay_ports"));
        assert_eq!(nearest("listen", KEYS.into_iter()), None, "two sections have it");
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("kitchen.sink", KEYS.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), KEYS.into_iter()), None);
    }

    #[test]
    fn the_distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
