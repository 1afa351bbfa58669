//! Binding (RFC 8489, section 12): what the client's address looks like from here, and NAT behaviour discovery with it
//! (RFC 5780, section 6.1), over UDP, where there are the addresses for it.

use super::allowance::Allowance;
use super::code;
use super::message::{ERROR_CODE, list};
use super::route::{FiveTuple, Route};
use super::server::Server;
use super::stats::Drop;
use super::wire::Request;
use crate::stun::attribute;
use crate::stun::{Message, address};

/// Zeros for PADDING.
static ZEROS: [u8; 65_536] = [0; 65_536];

impl Server {
    pub(super) fn handle_binding(&mut self, from: FiveTuple, message: Message<'_>) -> Route {
        let Ok(mut request) = Request::read(message) else { return self.drop(Drop::Malformed) };
        let square = self.discovery.at(from.server).filter(|_| from.transport.leg().is_none());
        if square.is_some() {
            use attribute::{CHANGE_REQUEST, PADDING, RESPONSE_PORT};
            request.unknown.retain(|kind| !matches!(*kind, CHANGE_REQUEST | RESPONSE_PORT | PADDING));
        }
        if !request.unknown.is_empty() {
            return self.refuse_binding(from, &request, code::UNKNOWN_ATTRIBUTE);
        }
        let asked = request.discovery;
        if square.is_some() && (asked.malformed || asked.port.is_some() && asked.padding.is_some()) {
            return self.refuse_binding(from, &request, code::BAD_REQUEST);
        }
        let mut to = from;
        if let Some(square) = square {
            to.server = square.origin(from.server, asked.change.unwrap_or_default());
            to.client.set_port(asked.port.unwrap_or(from.client.port()));
            if to.client.port() == 0 {
                return self.refuse_binding(from, &request, code::BAD_REQUEST);
            }
        }
        let echo = request.echo();
        let mut room = Allowance::new(&from, &echo, message.as_bytes().len());
        let address = if from.client.is_ipv4() { 8 } else { address::LONGEST };
        // As long as the request's: "the MTU" would be a gift to whoever forges senders.
        let padding = asked.padding.filter(|_| square.is_some()).map(|padding| &ZEROS[..padding.len()]);
        let fits = room.takes(address) && padding.is_none_or(|padding| room.takes(padding.len()));
        if !fits {
            return self.drop(Drop::Amplification);
        }
        if !self.may_answer(&from) {
            return self.drop(Drop::RateLimited);
        }
        self.stats.bindings += 1;
        // What is most wanted has the room first.
        let square = square.filter(|_| room.takes(address));
        let (origin, mapped) =
            (square.is_some() && room.takes(address), square.is_some() && room.takes(address));
        let software = if room.takes(self.software.len()) { &self.software } else { "" };
        let answer = echo.success(software, None, |writer| {
            writer.address(attribute::XOR_MAPPED_ADDRESS, from.client);
            if let Some(square) = square {
                writer.plain_address(attribute::OTHER_ADDRESS, square.other(from.server));
            }
            if origin {
                writer.plain_address(attribute::RESPONSE_ORIGIN, to.server);
            }
            if mapped {
                writer.plain_address(attribute::MAPPED_ADDRESS, from.client);
            }
            if let Some(padding) = padding {
                writer.attribute(attribute::PADDING, padding);
            }
        });
        self.send(to, answer);
        Route::Here
    }

    fn refuse_binding(&mut self, from: FiveTuple, request: &Request<'_>, code: u16) -> Route {
        let echo = request.echo();
        let unknown = list(&request.unknown);
        let mut room = Allowance::new(&from, &echo, request.message.as_bytes().len());
        if !room.takes(ERROR_CODE) || !unknown.is_empty() && !room.takes(unknown.len()) {
            return self.drop(Drop::Amplification);
        }
        if !self.may_answer(&from) {
            return self.drop(Drop::RateLimited);
        }
        let reason = code::reason(code);
        let phrase = if room.extends(reason.len()) { reason } else { "" };
        let software = if room.takes(self.software.len()) { &self.software } else { "" };
        let answer = echo.brief_error(code, phrase, software, |writer| {
            if !unknown.is_empty() {
                writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &unknown);
            }
        });
        self.send(from, answer);
        Route::Here
    }
}
