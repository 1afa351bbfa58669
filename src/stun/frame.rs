//! Where a message ends in a stream of bytes: STUN and ChannelData over TCP and TLS (RFC 8656, section 12.5).

use super::channel_data;
use super::{HEADER, MAGIC_COOKIE, Malformed};

/// The bytes that the frame at the front of `bytes` takes, ChannelData's padding to a multiple of four included; they may
/// not all be there yet. `None`: too few bytes to tell.
///
/// # Errors
/// [`Malformed`]: neither STUN nor ChannelData. Where the next frame begins is then anybody's guess.
#[inline]
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let cookie = bytes.get(4..).unwrap_or_default();
    let wrong_cookie = cookie.iter().zip(MAGIC_COOKIE.to_be_bytes()).any(|(&byte, wanted)| byte != wanted);
    let header = match first {
        0x00..=0x3f if wrong_cookie => return Err(Malformed),
        0x00..=0x3f => HEADER,
        0x40..=0x4f => channel_data::HEADER,
        _ => return Err(Malformed),
    };
    let Some(&[high, low]) = bytes.get(2..4).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if header == HEADER && !length.is_multiple_of(4) {
        return Err(Malformed);
    }
    Ok(Some(header + length.next_multiple_of(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(length: u16) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend(length.to_be_bytes());
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.resize(HEADER + usize::from(length), 7);
        bytes
    }

    #[test]
    fn stun_is_as_long_as_it_says() {
        assert_eq!(length(&stun(0)), Ok(Some(20)));
        assert_eq!(length(&stun(8)), Ok(Some(28)));
        assert_eq!(length(&stun(0xfffc)), Ok(Some(0xfffc + 20)));
        assert_eq!(length(&stun(5)), Err(Malformed), "attributes come in fours");
    }

    #[test]
    fn channel_data_is_padded_to_four() {
        for (said, whole) in [(0, 4), (1, 8), (2, 8), (3, 8), (4, 8), (5, 12), (0xffff, 0x10004)] {
            let [high, low] = u16::to_be_bytes(said);
            assert_eq!(length(&[0x40, 0, high, low]), Ok(Some(whole)));
            assert_eq!(length(&[0x4f, 0xff, high, low, 0xff, 0xff]), Ok(Some(whole)));
        }
    }

    #[test]
    fn four_bytes_tell_and_fewer_do_not() {
        for whole in [stun(4), vec![0x40, 1, 0, 4, 9, 9, 9, 9]] {
            for cut in 0..whole.len() {
                let wanted = (cut >= 4).then_some(whole.len());
                assert_eq!(length(&whole[..cut]), Ok(wanted), "{cut} bytes");
            }
        }
    }

    #[test]
    fn anything_else_is_found_out_as_early_as_can_be() {
        for first in 0x50..=0xff {
            assert_eq!(length(&[first]), Err(Malformed));
        }
        // The cookie's first byte decides about an HTTP-like start with a low letter, too.
        assert_eq!(length(&[0, 1, 0, 0, 0x21]), Ok(Some(20)));
        assert_eq!(length(&[0, 1, 0, 0, 0x22]), Err(Malformed));
        assert_eq!(length(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x43]), Err(Malformed));
    }
}
