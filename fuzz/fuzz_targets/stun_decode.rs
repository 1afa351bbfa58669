//! Any bytes as a STUN message: no panic, and the same reading as the `stun` crate's.
#![no_main]

use callgate_fuzz::stun::{Malformed, Message, address};
use libfuzzer_sys::fuzz_target;
use webrtc_stun::message as theirs;

fuzz_target!(|bytes: &[u8]| {
    let is_whole = bytes.len() >= 20
        && bytes[0] < 0x40
        && bytes.len().is_multiple_of(4)
        && usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) == bytes.len() - 20;
    let mut other = theirs::Message { raw: bytes.to_vec(), ..theirs::Message::new() };
    match (Message::parse(bytes), other.decode()) {
        (Ok(ours), Ok(())) => {
            assert_eq!(other.typ.value(), ours.kind());
            assert_eq!(other.transaction_id.0, ours.transaction_id());
            let renamed = |kind| if kind == 0x8020 { 0x0020 } else { kind };
            let mut count = 0;
            for (mine, its) in ours.attributes().zip(&other.attributes.0) {
                assert_eq!((renamed(mine.kind), mine.value), (its.typ.0, &its.value[..]));
                let _ = address::decode(mine.value, &ours.transaction_id());
                count += 1;
            }
            assert_eq!(count, other.attributes.0.len());
        }
        (Err(Malformed), Ok(())) => assert!(!is_whole),
        (Ok(_), Err(error)) => panic!("they refuse it: {error}"),
        (Err(Malformed), Err(_)) => {}
    }
});
