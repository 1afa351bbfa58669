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
    let plain: String = name.chars().filter(|c| !c.is_control()).collect();
    let plain = plain.trim();
    let shown = plain[..plain.floor_char_boundary(LONGEST)].trim_end();
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// Whether a token can say that this is its user.
#[must_use]
pub fn is_visible(user: &str) -> bool {
    fits(user) && user.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a name can be shown as it is, of somebody who is told if not: it fits, says something, and has no control characters.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    fits(name) && !name.trim().is_empty() && !name.chars().any(char::is_control)
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
        // What a control character has kept apart from the edge is at the edge without it.
        assert_eq!((shown(" \u{7} \u{7}"), shown("\u{0} Ada \u{1b}").as_deref()), (None, Some("Ada")));
    }

    #[test]
    fn what_shows_nothing_or_is_not_text_is_no_plain_name() {
        for (name, plain) in [
            ("Ada L.", true),
            (" Ädä 🎉", true),
            ("", false),
            ("  ", false),
            ("a\u{0}b", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_plain(name), plain, "{name:?}");
        }
        assert!(!is_plain(&"x".repeat(LONGEST + 1)));
    }
}
