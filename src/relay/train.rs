//! What is about to be sent: packets with the same way out, joined to trains that leave in one system call.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::Range;

use crate::turn::AllocationId;
use crate::turn::Head;
use crate::turn::Span;

use super::udp::HEADROOM;
use super::udp::Inbox;

/// The kernel takes 64 segments at once from its first version with UDP_SEGMENT on.
const SEGMENTS: u16 = 64;
/// And no more than fits in one UDP length, with a margin for the IP header.
const BYTES: u32 = 65_000;

/// Through which socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// The client-facing socket with this index.
    Listener(u8),
    /// An allocation's relay socket of the destination's family.
    Relay(AllocationId),
}

/// The way out of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    /// Through which socket.
    pub(super) via: Via,
    /// To whom.
    pub(super) to: SocketAddr,
    /// From which local address, where the socket has several.
    pub(super) source: IpAddr,
    /// Not to be fragmented.
    pub(super) dont_fragment: bool,
}

/// Where in the inbox a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The slot.
    pub(super) slot: u16,
    /// Of its bytes, the first one of the packet.
    pub(super) offset: u32,
}

/// Packets of equal length (the last may be shorter) for one destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Train {
    pub(super) via: Via,
    pub(super) to: SocketAddr,
    pub(super) source: IpAddr,
    pub(super) dont_fragment: bool,
    /// Bytes of each packet but the last.
    pub(super) segment: u16,
    /// How many packets.
    pub(super) count: u16,
    first: u32,
    bytes: u32,
    /// A shorter packet has come: no more after it.
    closed: bool,
}

/// One packet of a train.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The slot its bytes are in.
    pub(super) slot: u16,
    /// Zero bytes behind it.
    pub(super) padding: u8,
    head: Option<u16>,
    start: u32,
    end: u32,
}

impl Piece {
    /// Its bytes within `Inbox::whole`.
    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// So many packets are sent before there are more: streams may bring many small ones at once.
const PIECES: usize = 4096;

/// Everything that leaves at the end of a batch; never holds more than one inbox brings in.
#[derive(Default)]
pub(super) struct Outbox {
    trains: Vec<Train>,
    pieces: Vec<Piece>,
    heads: Vec<Head>,
}

impl Outbox {
    pub(super) fn clear(&mut self) {
        self.trains.clear();
        self.pieces.clear();
        self.heads.clear();
    }

    /// There should be no more in it.
    pub(super) fn is_full(&self) -> bool {
        self.pieces.len() >= PIECES
    }

    pub(super) fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// Train number `index`.
    pub(super) fn train(&self, index: u16) -> &Train {
        &self.trains[usize::from(index)]
    }

    /// A train's packets, in order.
    pub(super) fn pieces(&self, train: &Train) -> &[Piece] {
        &self.pieces[train.first as usize..][..usize::from(train.count)]
    }

    /// What goes in front of a packet and is not already there in the inbox.
    pub(super) fn head(&self, piece: &Piece) -> Option<&[u8]> {
        piece.head.map(|index| self.heads[usize::from(index)].as_bytes())
    }

    /// Adds the part `payload` of the packet at `place`, behind `head`.
    ///
    /// Where the packet has room in front of its payload, the head is written there, into the inbox: a train of
    /// ChannelData from one client to another stays one piece of memory.
    pub(super) fn push(
        &mut self,
        inbox: &mut Inbox,
        place: Place,
        payload: Span,
        way: Way,
        head: Option<&Head>,
    ) {
        let mut start = HEADROOM as u32 + place.offset + u32::from(payload.start);
        let end = HEADROOM as u32 + place.offset + u32::from(payload.end.max(payload.start));
        let padding = head.map_or(0, |head| head.padding.min(3));
        let mut separate = None;
        let mut bytes = end - start + u32::from(padding);
        if let Some(head) = head {
            let front = head.as_bytes();
            let len = front.len() as u32;
            bytes += len;
            let headroom = if place.offset == 0 { HEADROOM as u32 } else { 0 };
            let room =
                inbox.whole_mut(place.slot.into()).get_mut((start - len.min(start)) as usize..start as usize);
            match room {
                Some(room) if len <= u32::from(payload.start) + headroom && room.len() == front.len() => {
                    room.copy_from_slice(front);
                    start -= len;
                }
                _ => {
                    if self.heads.last() != Some(head) {
                        self.heads.push(*head);
                    }
                    let Ok(index) = u16::try_from(self.heads.len() - 1) else { return };
                    separate = Some(index);
                }
            }
        }
        let Ok(size) = u16::try_from(bytes) else { return };
        let piece = Piece { slot: place.slot, padding, head: separate, start, end };
        match self.trains.last_mut() {
            Some(last)
                if !last.closed
                    && last.count < SEGMENTS
                    && size <= last.segment
                    && size > 0
                    && last.bytes + bytes <= BYTES
                    && (last.via, last.to, last.source, last.dont_fragment)
                        == (way.via, way.to, way.source, way.dont_fragment) =>
            {
                last.count += 1;
                last.bytes += bytes;
                last.closed = size < last.segment;
            }
            _ => self.trains.push(Train {
                via: way.via,
                to: way.to,
                source: way.source,
                dont_fragment: way.dont_fragment,
                segment: size,
                count: 1,
                first: self.pieces.len() as u32,
                bytes,
                closed: false,
            }),
        }
        self.pieces.push(piece);
    }
}
