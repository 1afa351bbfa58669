//! Where a client is in what it was told: for clients of any dialect that ask for it.
//!
//! Who connects with `auth.offsets` is told with every event about a seat which one it is (`offset`), and says when it connects
//! again which were the last that it has. An offset is of one seat in one process: no other can be taken for it, so whatever a
//! client still has of rooms it was in before does no harm.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::rooms::RoomId;

/// So many are kept of what a client names, the last: it may have seats in sixteen rooms, but need not ever forget one. What it names
/// in all is bounded by the handshake's length.
const MOST: usize = 4096;

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
        let (mark, seq) = text.split_once('-').filter(|(mark, _)| mark.len() == 8)?;
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
    pub(super) fn asked(auth: Option<&str>) -> Option<Offsets> {
        #[derive(Deserialize)]
        struct Auth<'a> {
            #[serde(borrow)]
            offsets: &'a RawValue,
        }
        let auth: Auth<'_> = serde_json::from_str(auth?).ok()?;
        let text = auth.offsets.get();
        if !text.starts_with(['{', '[']) {
            return None;
        }
        let mut last = Last::default();
        // All of it has been read once.
        let _ = serde_json::Deserializer::from_str(text).deserialize_any(&mut last);
        Some(Offsets(last.0.into()))
    }

    /// The number of the last event of this seat that the client has. 0: none.
    pub(super) fn of(&self, mark: NonZeroU32) -> u64 {
        self.0.iter().filter(|it| it.mark == mark).map(|it| it.seq).max().unwrap_or(0)
    }
}

/// The last offsets of a list. What is none of ours is of another version, and names no seat.
#[derive(Default)]
struct Last(VecDeque<Offset>);

impl Last {
    fn add(&mut self, value: &RawValue) {
        let Some(offset) = Offset::parse(value.get().trim_matches('"')) else { return };
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(offset);
    }
}

impl<'de> Visitor<'de> for &mut Last {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((IgnoredAny, value)) = map.next_entry::<_, &RawValue>()? {
            self.add(value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<&RawValue>()? {
            self.add(value);
        }
        Ok(())
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
        for text in [
            "",
            "-",
            "1",
            "0-1",
            "1-",
            "g-1",
            "1-x",
            "1--1",
            "1-1",
            "0000001-1",
            "100000000-1",
            "1-99999999999999999999",
        ] {
            assert_eq!(Offset::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_asks_by_naming_what_it_has_even_if_that_is_nothing() {
        let asked = |auth: serde_json::Value| Offsets::asked(Some(&auth.to_string()));
        for auth in
            [json!({"offsets": {}}), json!({"token": "t", "offsets": []}), json!({"offsets": {"r": 7}})]
        {
            assert_eq!(asked(auth.clone()), Some(Offsets(Vec::new())), "{auth}");
        }
        for auth in [json!({}), json!([]), json!("offsets"), json!({"offsets": null}), json!({"offsets": 3})]
        {
            assert_eq!(asked(auth.clone()), None, "{auth}");
        }
        assert_eq!(Offsets::asked(None), None);
        assert_eq!(Offsets::asked(Some("{")), None);
    }

    #[test]
    fn of_each_seat_the_last_counts_under_whatever_key_it_is() {
        let (tea, mug, none) = (offset(7, 3), offset(9, 12), offset(8, 0));
        let map =
            json!({"offsets": {"tea": tea.to_string(), "mug": mug.to_string(), "undefined": "00000007-5"}});
        let list =
            json!({"offsets": [tea.to_string(), "nonsense", "00000007-5", {"a": []}, mug.to_string()]});
        for auth in [map, list] {
            let offsets = Offsets::asked(Some(&auth.to_string())).unwrap();
            assert_eq!([tea, mug, none].map(|it| offsets.of(it.mark)), [5, 12, 0], "{auth}");
        }
    }

    #[test]
    fn of_a_client_that_never_forgets_any_the_last_are_kept() {
        let all: Vec<Offset> = (1..=MOST as u32 + 9).map(|n| offset(n, 5)).collect();
        let list: Vec<String> = all.iter().map(Offset::to_string).collect();
        let entries: Vec<String> = all.iter().map(|it| format!("\"room{:06}\":\"{it}\"", it.mark)).collect();
        for auth in
            [json!({"offsets": list}).to_string(), format!("{{\"offsets\":{{{}}}}}", entries.join(","))]
        {
            let offsets = Offsets::asked(Some(&auth)).unwrap();
            assert_eq!(offsets.0, all[9..], "{}", &auth[..60]);
        }
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
