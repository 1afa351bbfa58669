//! Requests as read and answers as written: one pass over the attributes, nothing copied.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::code;
use super::keys::Tag;
use super::password::Key;
use super::reservations::Token;
use crate::stun::attribute;
use crate::stun::attribute::comprehension_required;
use crate::stun::{Algorithm, Class, Mac, Malformed, Message, TransactionId, Writer, address, fingerprint};

/// How many unknown attributes an answer lists.
const MOST_UNKNOWN: usize = 16;

/// Room for a typical answer, so that it is allocated once.
const TYPICAL: usize = 160;

/// What an answer takes over from its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Echo {
    pub(super) method: u16,
    pub(super) transaction: TransactionId,
    /// The request had a FINGERPRINT, so the answer gets one.
    pub(super) fingerprint: bool,
}

/// What a request proved: who sent it.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// As in USERNAME, or what USERHASH stands for.
    pub(super) username: Box<str>,
    /// The long-term key of that user name.
    pub(super) key: Key,
    /// The secret or user that let it in.
    pub(super) by: Tag,
    /// Signs the answer.
    pub(super) mac: Mac,
}

/// A MESSAGE-INTEGRITY attribute of either kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integrity<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) offset: usize,
    pub(super) value: &'a [u8],
}

/// What a Binding request asks for about its answer's way (RFC 5780, section 7).
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Discovery<'a> {
    /// CHANGE-REQUEST's flags.
    pub(super) change: Option<u32>,
    /// RESPONSE-PORT.
    pub(super) port: Option<u16>,
    pub(super) padding: Option<&'a [u8]>,
    /// One of them has a value of the wrong size.
    pub(super) malformed: bool,
}

/// A request's attributes; of those that come twice the first counts (RFC 8489, section 14).
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) message: Message<'a>,
    pub(super) username: Option<&'a [u8]>,
    pub(super) userhash: Option<&'a [u8]>,
    pub(super) realm: Option<&'a [u8]>,
    pub(super) nonce: Option<&'a [u8]>,
    /// PASSWORD-ALGORITHMS, the server's own list given back.
    pub(super) algorithms: Option<&'a [u8]>,
    /// PASSWORD-ALGORITHM, the one chosen.
    pub(super) algorithm: Option<&'a [u8]>,
    pub(super) integrity: Option<Integrity<'a>>,
    pub(super) fingerprint: bool,
    /// Seconds.
    pub(super) lifetime: Option<u32>,
    /// An IP protocol number.
    pub(super) transport: Option<u8>,
    pub(super) family: Option<u8>,
    pub(super) additional_family: Option<u8>,
    /// With the R bit: reserve the next port, too.
    pub(super) even_port: Option<bool>,
    pub(super) token: Option<Token>,
    pub(super) channel: Option<u16>,
    /// MOBILITY-TICKET.
    pub(super) ticket: Option<&'a [u8]>,
    /// CONNECTION-ID.
    pub(super) connection: Option<u32>,
    pub(super) dont_fragment: bool,
    pub(super) data: Option<attribute::Attribute<'a>>,
    pub(super) discovery: Discovery<'a>,
    /// Comprehension-required types that we do not know (420).
    pub(super) unknown: SmallVec<[u16; 4]>,
    /// Some attribute that we know has a value of the wrong size (400).
    pub(super) malformed: bool,
    /// Where what counts ends: attributes behind MESSAGE-INTEGRITY are ignored.
    end: usize,
}

impl<'a> Request<'a> {
    /// # Errors
    /// A wrong FINGERPRINT: not meant for STUN (RFC 8489, section 7).
    pub(super) fn read(message: Message<'a>) -> Result<Self, Malformed> {
        let mut request = Self {
            message,
            username: None,
            userhash: None,
            realm: None,
            nonce: None,
            algorithms: None,
            algorithm: None,
            integrity: None,
            fingerprint: false,
            lifetime: None,
            transport: None,
            family: None,
            additional_family: None,
            even_port: None,
            token: None,
            channel: None,
            ticket: None,
            connection: None,
            dont_fragment: false,
            data: None,
            discovery: Discovery::default(),
            unknown: SmallVec::new(),
            malformed: false,
            end: message.as_bytes().len(),
        };
        for found in message.attributes() {
            if found.kind == attribute::FINGERPRINT {
                if !fingerprint::check(&message, found.offset, found.value) {
                    return Err(Malformed);
                }
                request.fingerprint = true;
            } else if found.kind == attribute::MESSAGE_INTEGRITY_SHA256 {
                request.take_sha256(found);
            } else if found.offset < request.end {
                request.take(found);
            }
        }
        Ok(request)
    }

    fn take(&mut self, found: attribute::Attribute<'a>) {
        let attribute::Attribute { kind, value, offset } = found;
        match kind {
            attribute::USERNAME => first(&mut self.username, value),
            attribute::USERHASH => first(&mut self.userhash, value),
            attribute::REALM => first(&mut self.realm, value),
            attribute::NONCE => first(&mut self.nonce, value),
            attribute::PASSWORD_ALGORITHMS => first(&mut self.algorithms, value),
            attribute::PASSWORD_ALGORITHM => first(&mut self.algorithm, value),
            // RFC 8489, section 14.5: what follows is ignored, but for its SHA-256 form.
            attribute::MESSAGE_INTEGRITY => {
                self.integrity = Some(Integrity { algorithm: Algorithm::Sha1, offset, value });
                self.end = offset;
            }
            attribute::LIFETIME => {
                let value = sized(value, &mut self.malformed).map(u32::from_be_bytes);
                self.lifetime = self.lifetime.or(value);
            }
            attribute::REQUESTED_TRANSPORT => one_of_four(&mut self.transport, value, &mut self.malformed),
            attribute::REQUESTED_ADDRESS_FAMILY => one_of_four(&mut self.family, value, &mut self.malformed),
            attribute::ADDITIONAL_ADDRESS_FAMILY => {
                one_of_four(&mut self.additional_family, value, &mut self.malformed);
            }
            attribute::EVEN_PORT => {
                let value = sized::<1>(value, &mut self.malformed).map(|[r]| r & 0x80 != 0);
                self.even_port = self.even_port.or(value);
            }
            attribute::RESERVATION_TOKEN => {
                self.token = self.token.or(sized(value, &mut self.malformed));
            }
            attribute::CHANNEL_NUMBER => {
                let value =
                    sized::<4>(value, &mut self.malformed).map(|[a, b, ..]| u16::from_be_bytes([a, b]));
                self.channel = self.channel.or(value);
            }
            attribute::MOBILITY_TICKET => first(&mut self.ticket, value),
            attribute::CONNECTION_ID => {
                let value = sized(value, &mut self.malformed).map(u32::from_be_bytes);
                self.connection = self.connection.or(value);
            }
            attribute::DONT_FRAGMENT => self.dont_fragment = true,
            attribute::DATA => first(&mut self.data, found),
            // Read where they are used, for there may be many of them.
            attribute::XOR_PEER_ADDRESS => {}
            // Of no use in a request, but known.
            attribute::ERROR_CODE
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::XOR_RELAYED_ADDRESS
            | attribute::XOR_MAPPED_ADDRESS => {}
            // Known to a Binding request alone, and there only where the server has the addresses for it.
            attribute::CHANGE_REQUEST => {
                let value = sized::<4>(value, &mut self.discovery.malformed).map(u32::from_be_bytes);
                self.discovery.change = self.discovery.change.or(value);
                self.unknown(kind);
            }
            attribute::RESPONSE_PORT => {
                // RFC 5780, section 7.5: a port and two bytes of padding, which some count in and some do not.
                let value = value.first_chunk::<2>().map(|port| u16::from_be_bytes(*port));
                self.discovery.malformed |= value.is_none();
                self.discovery.port = self.discovery.port.or(value);
                self.unknown(kind);
            }
            attribute::PADDING => {
                first(&mut self.discovery.padding, value);
                self.unknown(kind);
            }
            unknown if comprehension_required(unknown) => self.unknown(unknown),
            _ => {}
        }
    }

    /// RFC 8489, section 14.6: it may stand behind the SHA-1 form, and then it is the one that counts.
    fn take_sha256(&mut self, found: attribute::Attribute<'a>) {
        if self.integrity.is_none_or(|held| held.algorithm == Algorithm::Sha1) {
            let attribute::Attribute { value, offset, .. } = found;
            self.integrity = Some(Integrity { algorithm: Algorithm::Sha256, offset, value });
            self.end = self.end.min(offset);
        }
    }

    fn unknown(&mut self, kind: u16) {
        if self.unknown.len() < MOST_UNKNOWN && !self.unknown.contains(&kind) {
            self.unknown.push(kind);
        }
    }

    /// The values of all XOR-PEER-ADDRESS attributes; `None` for one that cannot be read.
    pub(super) fn peers(&self) -> impl Iterator<Item = Option<SocketAddr>> {
        let transaction = self.message.transaction_id();
        self.message
            .attributes()
            .take_while(|found| found.offset < self.end)
            .filter(|found| found.kind == attribute::XOR_PEER_ADDRESS)
            .map(move |found| address::decode(found.value, &transaction))
    }

    pub(super) fn echo(&self) -> Echo {
        Echo {
            method: self.message.method(),
            transaction: self.message.transaction_id(),
            fingerprint: self.fingerprint,
        }
    }
}

fn first<T>(held: &mut Option<T>, value: T) {
    if held.is_none() {
        *held = Some(value);
    }
}

fn sized<const N: usize>(value: &[u8], malformed: &mut bool) -> Option<[u8; N]> {
    let sized = value.try_into().ok();
    *malformed |= sized.is_none();
    sized
}

/// A byte and three that are reserved.
fn one_of_four(held: &mut Option<u8>, value: &[u8], malformed: &mut bool) {
    let value = sized::<4>(value, malformed).map(|[byte, ..]| byte);
    *held = held.or(value);
}

impl Echo {
    /// A success response, its own attributes written by `body`.
    pub(super) fn success(
        &self,
        software: &str,
        mac: Option<&Mac>,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.answer(Class::Success, software, mac, body)
    }

    /// An error response with the code's own reason phrase, and what `body` adds.
    pub(super) fn error(
        &self,
        code: u16,
        software: &str,
        mac: Option<&Mac>,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.answer(Class::Error, software, mac, |writer| {
            writer.error(code, code::reason(code));
            body(writer);
        })
    }

    /// An error response to somebody whom no key is known of, with this reason phrase.
    pub(super) fn brief_error(
        &self,
        code: u16,
        phrase: &str,
        software: &str,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.answer(Class::Error, software, None, |writer| {
            writer.error(code, phrase);
            body(writer);
        })
    }

    fn answer(
        &self,
        class: Class,
        software: &str,
        mac: Option<&Mac>,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut message = Vec::with_capacity(TYPICAL);
        let mut writer = Writer::new(&mut message, self.method, class, self.transaction);
        body(&mut writer);
        if !software.is_empty() {
            writer.attribute(attribute::SOFTWARE, software.as_bytes());
        }
        if let Some(mac) = mac {
            writer.integrity(mac);
        }
        if self.fingerprint {
            writer.fingerprint();
        }
        message
    }
}
