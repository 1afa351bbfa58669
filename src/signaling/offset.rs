//! Where a client is in what it was told: for clients of any dialect that ask for it.
//!
//! Who connects with `auth.offsets` is told with every event about a seat which one it is (`offset`), and says when it connects
//! again which were the last that it has. An offset is of one seat in one process: no other can be taken for it, so whatever a
//! client still has of rooms it was in before does no harm.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rooms::RoomId;

/// The most that a client may name: sixteen times the seats that it may have, and more.
const MOST: usize = 256;

/// One event's place among those of a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offset {
    /// Tells the seat from others (`Seal::mark`).
    pub(super) mark: NonZeroU32,
    /// The event's number, 1 for the first.
    pub(super) seq: u64,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.mark, self.seq)
    }
}

impl Offset {
    fn parse(text: &str) -> Option<Offset> {
        let (mark, seq) = text.split_once('-')?;
        Some(Offset { mark: NonZeroU32::new(u32::from_str_radix(mark, 16).ok()?)?, seq: seq.parse().ok()? })
    }

    /// Says in an event's body which one it is, and of which room, if it does not say so yet.
    pub(super) fn put_into(self, room: &RoomId, body: Box<RawValue>) -> Box<RawValue> {
        let Ok(keys) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(body.get()) else {
            return body;
        };
        let Some(rest) = body.get().strip_prefix('{').filter(|_| !keys.contains_key("offset")) else {
            return body;
        };
        let mut text = format!("{{\"offset\":\"{self}\"");
        if !["roomId", "room"].iter().any(|key| keys.contains_key(*key)) {
            // A room's name needs no escapes.
            text.extend([",\"roomId\":\"", room.as_str(), "\""]);
        }
        if !keys.is_empty() {
            text.push(',');
        }
        text.push_str(rest);
        RawValue::from_string(text).unwrap_or(body)
    }
}

/// What a client has, as it said when it connected.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Offsets(Vec<Offset>);

impl Offsets {
    /// What the handshake's `auth` says, if anything: an object, whose keys are the client's own business, or an array.
    ///
    /// # Errors
    /// It names more than may be.
    pub(super) fn asked(auth: Option<&str>) -> Result<Option<Offsets>, &'static str> {
        #[derive(Deserialize)]
        struct Auth<'a> {
            #[serde(borrow)]
            offsets: &'a RawValue,
        }
        let Some(text) = auth.and_then(|text| serde_json::from_str::<Auth<'_>>(text).ok()) else {
            return Ok(None);
        };
        let text = text.offsets.get();
        let given: Vec<&RawValue> = if text.starts_with('{') {
            let map: Result<HashMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_str(text);
            map.map(|map| map.into_values().collect()).unwrap_or_default()
        } else if text.starts_with('[') {
            serde_json::from_str(text).unwrap_or_default()
        } else {
            return Ok(None);
        };
        if given.len() > MOST {
            return Err("too many offsets");
        }
        // What is none of ours is of another version, and names no seat.
        Ok(Some(Offsets(
            given.into_iter().filter_map(|it| Offset::parse(it.get().trim_matches('"'))).collect(),
        )))
    }

    /// The number of the last event of this seat that the client has. 0: none.
    pub(super) fn of(&self, mark: NonZeroU32) -> u64 {
        self.0.iter().filter(|it| it.mark == mark).map(|it| it.seq).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offset(mark: u32, seq: u64) -> Offset {
        Offset { mark: NonZeroU32::new(mark).unwrap(), seq }
    }

    #[test]
    fn an_offset_is_read_as_it_is_written() {
        for it in [offset(1, 0), offset(u32::MAX, u64::MAX), offset(0x00ab_cdef, 17)] {
            assert_eq!(Offset::parse(&it.to_string()), Some(it));
        }
        for text in ["", "-", "1", "0-1", "1-", "g-1", "1-x", "1--1", "100000000-1", "1-99999999999999999999"]
        {
            assert_eq!(Offset::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_asks_by_naming_what_it_has_even_if_that_is_nothing() {
        let asked = |auth: serde_json::Value| Offsets::asked(Some(&auth.to_string())).unwrap();
        for auth in
            [json!({"offsets": {}}), json!({"token": "t", "offsets": []}), json!({"offsets": {"r": 7}})]
        {
            assert_eq!(asked(auth.clone()), Some(Offsets(Vec::new())), "{auth}");
        }
        for auth in [json!({}), json!([]), json!("offsets"), json!({"offsets": null}), json!({"offsets": 3})]
        {
            assert_eq!(asked(auth.clone()), None, "{auth}");
        }
        assert_eq!(Offsets::asked(None), Ok(None));
        assert_eq!(Offsets::asked(Some("{")), Ok(None));
    }

    #[test]
    fn of_each_seat_the_last_counts_under_whatever_key_it_is() {
        let (tea, mug, none) = (offset(7, 3), offset(9, 12), offset(8, 0));
        let map =
            json!({"offsets": {"tea": tea.to_string(), "mug": mug.to_string(), "undefined": "00000007-5"}});
        let list =
            json!({"offsets": [tea.to_string(), "nonsense", "00000007-5", {"a": []}, mug.to_string()]});
        for auth in [map, list] {
            let offsets = Offsets::asked(Some(&auth.to_string())).unwrap().unwrap();
            assert_eq!([tea, mug, none].map(|it| offsets.of(it.mark)), [5, 12, 0], "{auth}");
        }
    }

    #[test]
    fn more_than_a_client_can_have_use_for_are_refused() {
        let many = |n: usize| json!({"offsets": vec!["00000007-5"; n]}).to_string();
        assert!(Offsets::asked(Some(&many(MOST))).unwrap().is_some());
        assert!(Offsets::asked(Some(&many(MOST + 1))).is_err());
    }

    #[test]
    fn an_offset_is_put_into_a_body_once() {
        let body = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let room = RoomId::parse("tea").unwrap();
        for (before, after) in [
            (r#"{"a":1}"#, r#"{"offset":"00000007-3","roomId":"tea","a":1}"#),
            (r#"{"roomId":"r"}"#, r#"{"offset":"00000007-3","roomId":"r"}"#),
            (r#"{"a":{},"room":"r"}"#, r#"{"offset":"00000007-3","a":{},"room":"r"}"#),
            ("{}", r#"{"offset":"00000007-3","roomId":"tea"}"#),
            (r#"{"offset":"00000007-3","a":1}"#, r#"{"offset":"00000007-3","a":1}"#),
            ("[1]", "[1]"),
        ] {
            assert_eq!(offset(7, 3).put_into(&room, body(before)).get(), after);
        }
    }
}
