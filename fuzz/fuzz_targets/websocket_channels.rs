//! Whatever a message is, it is decoded to what it was encoded from or refused, and never to more than was sent.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use vk_kubelet::fuzzing::Codec;

fuzz_target!(|input: (bool, &[u8])| {
    let (is_base64, message) = input;
    let codec = if is_base64 { Codec::Base64 } else { Codec::Binary };
    let Ok(Some((channel, bytes))) = codec.decode(Bytes::copy_from_slice(message)) else { return };
    assert!(bytes.len() < message.len());
    if usize::from(channel) < codec.channels() {
        assert_eq!(codec.encode(channel, &bytes).into_data(), message);
    }
});
