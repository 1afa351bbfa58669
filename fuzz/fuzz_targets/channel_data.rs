//! Any bytes as ChannelData: no panic, and the same reading as the `turn` crate's.
#![no_main]

use callgate_fuzz::stun::channel_data;
use libfuzzer_sys::fuzz_target;
use webrtc_turn::proto::chandata::ChannelData;

fuzz_target!(|bytes: &[u8]| {
    let mut other = ChannelData { raw: bytes.to_vec(), ..ChannelData::default() };
    let theirs = other.decode().is_ok().then_some((other.number.0, &other.data[..]));
    let theirs = theirs.filter(|(number, _)| channel_data::is_channel(*number));
    let ours = channel_data::parse(bytes);
    assert_eq!(ours.map(|(number, length)| (number, &bytes[4..][..usize::from(length)])), theirs);
});
