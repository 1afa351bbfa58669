//! One decoder for all dialects: `["event", argument, …]`, with every spelling of every key.
//!
//! What is passed on (`sdp`, `candidate`, `data`) is not looked into, only measured.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::DeserializeSeed;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// How deep what is passed on may be nested: receivers' parsers are not all built for more.
const DEEPEST: usize = 32;

/// An event as it came.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    /// Its name.
    pub(super) event: Cow<'a, str>,
    /// What the first argument says; a bare string is a room.
    pub(super) arguments: Arguments<'a>,
}

/// The parts of an argument, whatever the client calls them.
#[derive(Debug, Default)]
pub(super) struct Arguments<'a> {
    pub(super) room: Option<Cow<'a, str>>,
    pub(super) to: Option<Cow<'a, str>>,
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) data: Option<&'a RawValue>,
    pub(super) text: Option<Cow<'a, str>>,
    pub(super) attachments: Option<&'a RawValue>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) user: Option<Cow<'a, str>>,
    pub(super) peer: Option<Cow<'a, str>>,
    pub(super) password: Option<Cow<'a, str>>,
    pub(super) resume: Option<Cow<'a, str>>,
    /// The number of the last event that came through, for who resumes.
    pub(super) have: Option<u64>,
    pub(super) client: Option<Cow<'a, str>>,
    pub(super) capacity: Option<u64>,
    pub(super) description: Option<Cow<'a, str>>,
    pub(super) media: Option<Cow<'a, str>>,
    pub(super) private: Option<bool>,
    pub(super) persistent: Option<bool>,
    pub(super) auto_delete: Option<bool>,
    pub(super) lobby: Option<bool>,
    pub(super) locked: Option<bool>,
    pub(super) admit: Option<bool>,
    pub(super) moderator: Option<bool>,
    pub(super) ban: Option<bool>,
    /// Of a page: what it comes after (or, of a history, before), how long it is, what to look for.
    pub(super) from: Option<Cow<'a, str>>,
    pub(super) limit: Option<u64>,
    pub(super) search: Option<Cow<'a, str>>,
    pub(super) token: Option<Cow<'a, str>>,
}

impl<'a> Request<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// What is wrong with it, for a developer to read; `event` is set as far as it could be read.
    pub(super) fn read(text: &'a str) -> (Request<'a>, Result<(), Cow<'static, str>>) {
        let mut request = Request::default();
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = Whole(&mut request).deserialize(&mut reader).and_then(|()| reader.end());
        let read = read.map_err(|error| Cow::from(describe(&error))).and_then(|()| {
            let deep = request.arguments.data.is_some_and(|data| deeper_than(DEEPEST, data.get()));
            if deep { Err("nested too deep".into()) } else { Ok(()) }
        });
        (request, read)
    }
}

/// The parser's words without the position, which means nothing to the sender.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string().replace("expected u64", "expected a whole number, 0 or above");
    let mut end = text.find(" at line ").unwrap_or(text.len()).min(160);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Whether JSON text has more than `most` brackets open at once.
fn deeper_than(most: usize, json: &str) -> bool {
    // Nearly always there are not that many brackets at all, which is found out at many bytes a cycle.
    let brackets = json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if brackets <= most {
        return false;
    }
    let mut open = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => {
                open += 1;
                if open > most {
                    return true;
                }
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    false
}

struct Whole<'r, 'a>(&'r mut Request<'a>);

impl<'a> DeserializeSeed<'a> for Whole<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Whole<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        let Some(Text(event)) = seq.next_element()? else {
            return Err(de::Error::custom("an event needs a name"));
        };
        self.0.event = event;
        if seq.next_element_seed(Argument(&mut self.0.arguments))?.is_some() {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }
}

struct Argument<'r, 'a>(&'r mut Arguments<'a>);

impl<'a> DeserializeSeed<'a> for Argument<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Argument<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a room's id")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'a str) -> Result<(), E> {
        self.0.room = Some(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.room = Some(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let it = self.0;
        // A room's id to some; to others the message's own, next to a room.
        let mut id: Option<&'a RawValue> = None;
        while let Some(Text(key)) = map.next_key()? {
            if let Some(text) = it.text_of(&key) {
                *text = value::<Option<Text<'a>>, _>(&mut map, &key)?.map(|Text(text)| text);
            } else if let Some(flag) = it.flag_of(&key) {
                *flag = value(&mut map, &key)?;
            } else {
                match &*key {
                    "id" => id = Some(map.next_value()?),
                    "isPublic" => {
                        it.private = value::<Option<bool>, _>(&mut map, &key)?.map(|public| !public);
                        // Who makes rooms in these words makes them to last, unless it says so.
                        it.persistent.get_or_insert(true);
                    }
                    "public" => {
                        it.private = value::<Option<bool>, _>(&mut map, &key)?.map(|public| !public);
                    }
                    "capacity" => it.capacity = value(&mut map, &key)?,
                    "maxUsers" => it.capacity = as_many(map.next_value::<&RawValue>()?.get()),
                    "have" => it.have = value(&mut map, &key)?,
                    "limit" => it.limit = value(&mut map, &key)?,
                    "sdp" | "offer" | "answer" | "description" | "candidate" | "data" | "action" => {
                        it.data = Some(map.next_value()?);
                    }
                    "attachments" => it.attachments = Some(map.next_value()?),
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
        }
        // What a room is about is called as what a peer offers is.
        if let Some(data) = it.data
            && data.get().starts_with('"')
        {
            it.description = serde_json::from_str::<Text<'a>>(data.get()).ok().map(|Text(text)| text);
        }
        if let (None, Some(id)) = (&it.room, id) {
            let id = serde_json::from_str::<Option<Text<'a>>>(id.get());
            let id = id.map_err(|error| de::Error::custom(format_args!("id: {}", describe(&error))))?;
            it.room = id.map(|Text(text)| text);
        }
        Ok(())
    }
}

/// The value of that key; what is wrong with it says the key.
fn value<'a, T: Deserialize<'a>, M: MapAccess<'a>>(map: &mut M, key: &str) -> Result<T, M::Error> {
    map.next_value().map_err(|error| de::Error::custom(format_args!("{key}: {error}")))
}

/// A number as forms and pages write it: `8`, `8.0`, `"8"`. "As many as come" (`null` is what JSON makes of Infinity) is none.
fn as_many(json: &str) -> Option<u64> {
    let number: f64 = json.trim_matches('"').trim().parse().ok()?;
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    // It saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "looked at above")]
    let whole = number as u64;
    Some(whole)
}

impl<'a> Arguments<'a> {
    fn text_of(&mut self, key: &str) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match key {
            "roomId" | "room" => &mut self.room,
            "targetId" | "to" | "target" => &mut self.to,
            "kind" => &mut self.kind,
            "msg" | "message" | "text" => &mut self.text,
            "name" | "username" => &mut self.name,
            "userId" => &mut self.user,
            "peerId" => &mut self.peer,
            "password" => &mut self.password,
            "resume" => &mut self.resume,
            "clientId" => &mut self.client,
            "media" => &mut self.media,
            "before" | "after" | "cursor" => &mut self.from,
            "search" => &mut self.search,
            "token" => &mut self.token,
            _ => return None,
        })
    }

    fn flag_of(&mut self, key: &str) -> Option<&mut Option<bool>> {
        Some(match key {
            "isPrivate" | "private" => &mut self.private,
            "persistent" => &mut self.persistent,
            "autoDelete" => &mut self.auto_delete,
            "lobby" => &mut self.lobby,
            "locked" => &mut self.locked,
            "admit" => &mut self.admit,
            "moderator" => &mut self.moderator,
            "ban" => &mut self.ban,
            _ => return None,
        })
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Text<'a>, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Request<'_> {
        let (request, read) = Request::read(text);
        read.unwrap_or_else(|error| panic!("{text}: {error}"));
        request
    }

    #[test]
    fn every_spelling_of_a_key_means_the_same() {
        for text in
            [r#"["e",{"roomId":"r"}]"#, r#"["e",{"room":"r"}]"#, r#"["e",{"id":"r"}]"#, r#"["e","r"]"#]
        {
            assert_eq!(read(text).arguments.room.as_deref(), Some("r"), "{text}");
        }
        for key in ["sdp", "offer", "answer", "description", "candidate", "data"] {
            let text = format!(r#"["offer",{{"{key}":{{"a":[1]}}}}]"#);
            assert_eq!(read(&text).arguments.data.unwrap().get(), r#"{"a":[1]}"#);
        }
        for key in ["targetId", "to", "target"] {
            let text = format!(r#"["e",{{"{key}":"you"}}]"#);
            assert_eq!(read(&text).arguments.to.as_deref(), Some("you"));
        }
        for key in ["msg", "message", "text"] {
            let text = format!(r#"["e",{{"{key}":"hi \"you\""}}]"#);
            assert_eq!(read(&text).arguments.text.as_deref(), Some("hi \"you\""));
        }
    }

    #[test]
    fn how_many_users_is_written_in_many_ways() {
        for (text, many) in [
            ("8", Some(8)),
            ("8.0", Some(8)),
            ("8.9", Some(8)),
            (r#""8""#, Some(8)),
            ("1e300", Some(u64::MAX)),
            ("0", Some(0)),
            ("null", None),
            (r#""""#, None),
            ("-1", None),
            ("{}", None),
            (r#""Infinity""#, None),
        ] {
            assert_eq!(read(&format!(r#"["createRoom",{{"maxUsers":{text}}}]"#)).arguments.capacity, many);
        }
    }

    #[test]
    fn a_room_that_is_public_or_not_is_made_to_last() {
        let of = |text: &str| {
            let arguments = read(text).arguments;
            (arguments.private, arguments.persistent)
        };
        assert_eq!(of(r#"["createRoom",{"isPublic":true}]"#), (Some(false), Some(true)));
        assert_eq!(of(r#"["createRoom",{"isPublic":true,"persistent":false}]"#), (Some(false), Some(false)));
        assert_eq!(of(r#"["createRoom",{"persistent":false,"isPublic":false}]"#), (Some(true), Some(false)));
        assert_eq!(of(r#"["createRoom",{"isPrivate":true}]"#), (Some(true), None));
    }

    #[test]
    fn an_id_beside_a_room_is_something_elses() {
        for text in [r#"["e",{"roomId":"r","id":"mine"}]"#, r#"["e",{"id":7,"room":"r"}]"#] {
            assert_eq!(read(text).arguments.room.as_deref(), Some("r"), "{text}");
        }
        assert!(Request::read(r#"["join",{"id":7}]"#).1.is_err());
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let request = read(r#"["e",{"x":[[[{}]]],"roomId":"r","to":null},1,"2",{"roomId":"z"}]"#);
        assert_eq!((request.arguments.room.as_deref(), request.arguments.to), (Some("r"), None));
        assert_eq!(read(r#"["leave"]"#).event, "leave");
        assert!(read(r#"["leave",null]"#).arguments.room.is_none());
    }

    #[test]
    fn bad_shapes_are_named_and_the_event_is_kept() {
        for text in [
            r#"["join",{"roomId":7}]"#,
            r#"["join",{"roomId":{"a":1}}]"#,
            r#"["join",7]"#,
            r#"["join",[]]"#,
            r#"["join",true]"#,
            r#"["join",{"roomId":"a"]"#,
            r#"["join",{"capacity":-1}]"#,
            r#"["join",{"capacity":"2"}]"#,
            r#"["join",{}] x"#,
        ] {
            let (request, error) = Request::read(text);
            assert_eq!(request.event, "join", "{text}");
            assert!(!error.unwrap_err().contains(" at line "), "{text}");
        }
        assert!(Request::read("[]").1.is_err());
        assert!(Request::read("[7]").1.is_err());
        assert!(Request::read("").1.is_err());
    }

    #[test]
    fn deep_nesting_is_refused_wherever_it_is() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Request::read(&format!(r#"["offer",{{"sdp":{}}}]"#, deep(DEEPEST))).1.is_ok());
        assert!(Request::read(&format!(r#"["offer",{{"sdp":{}}}]"#, deep(DEEPEST + 1))).1.is_err());
        assert!(Request::read(&format!(r#"["offer",{{"sdp":{}}}]"#, deep(100_000))).1.is_err());
        assert!(Request::read(&format!(r#"["offer",{}]"#, deep(100_000))).1.is_err());
        // Brackets in strings are not nesting.
        let quoted = format!(r#"["offer",{{"sdp":"\"{}"}}]"#, "[".repeat(100));
        assert!(Request::read(&quoted).1.is_ok());
    }
}
