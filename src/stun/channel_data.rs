//! ChannelData messages (RFC 8656, section 12.4).

/// Bytes of the header: channel number and length.
pub const HEADER: usize = 4;

/// Reads a datagram's head: channel number and length of the application data, which starts behind [`HEADER`].
/// `None`: not ChannelData, a reserved channel number, or data that breaks off. Padding may follow the data.
#[must_use]
#[inline]
pub fn parse(packet: &[u8]) -> Option<(u16, u16)> {
    let (head, rest) = packet.split_first_chunk::<HEADER>()?;
    let number = u16::from_be_bytes([head[0], head[1]]);
    let length = u16::from_be_bytes([head[2], head[3]]);
    (is_channel(number) && usize::from(length) <= rest.len()).then_some((number, length))
}

/// The header for `length` bytes of application data.
#[must_use]
#[inline]
pub fn head(number: u16, length: u16) -> [u8; HEADER] {
    let [a, b] = number.to_be_bytes();
    let [c, d] = length.to_be_bytes();
    [a, b, c, d]
}

/// Whether this is a channel number that may be bound (RFC 8656, section 12).
#[must_use]
#[inline]
pub fn is_channel(number: u16) -> bool {
    (0x4000..=0x4fff).contains(&number)
}
