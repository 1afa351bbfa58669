//! What users and rooms are called: one rule for clients, tokens, back ends and webhooks. In bytes, as that is what is kept and sealed.

/// The longest label, in bytes of UTF-8: a user, a name of somebody or of a room.
pub const LONGEST: usize = 128;

/// Whether it can be one: 1 to `LONGEST` bytes.
#[must_use]
pub fn fits(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
}

/// A name as it can be shown, of others' making: without control characters, and as much of it as fits, in whole characters. None, if
/// nothing is left of it.
#[must_use]
pub fn shown(name: &str) -> Option<String> {
    let mut shown: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    shown.truncate(shown.floor_char_boundary(LONGEST));
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_in_bytes_and_cut_between_characters() {
        for (text, good) in [("ada", true), (&*"ä".repeat(64), true), (&*"ä".repeat(65), false), ("", false)]
        {
            assert_eq!(fits(text), good, "{text}");
        }
        assert_eq!(shown(" Ada\u{0}\n ").as_deref(), Some("Ada"));
        for (letter, left) in [("x", 128), ("ü", 64), ("€", 42), ("😀", 32)] {
            assert_eq!(shown(&letter.repeat(200)), Some(letter.repeat(left)));
        }
        assert_eq!((shown(""), shown(" \u{7} ")), (None, None));
    }
}
