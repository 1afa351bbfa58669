//! A place in the directory, and its text: where the next page of a list begins.

use crate::rooms::RoomId;

/// A page of the directory begins after this room: when it was made, in milliseconds since 1970, and its id.
pub type Place = (u64, RoomId);

/// The most digits of a time: beyond is no day that anybody sees.
const DIGITS: usize = 15;

/// As a text to come back with.
#[must_use]
pub fn cursor((at, id): &Place) -> String {
    format!("{at}.{}", id.as_str())
}

/// From its text; none: it is no such text.
#[must_use]
pub fn place(text: &str) -> Option<Place> {
    let (at, id) = text.split_once('.')?;
    let digits = (1..=DIGITS).contains(&at.len()) && at.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| Some((at.parse().ok()?, RoomId::parse(id)?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text_and_no_other_text_is_one() {
        let here = (17, RoomId::parse("a-b_c").unwrap());
        assert_eq!(cursor(&here), "17.a-b_c");
        assert_eq!(place(&cursor(&here)), Some(here));
        for bad in ["", "17", "x.a", "17.", "17.a b", ".a", "+17.a", "9999999999999999.a"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
