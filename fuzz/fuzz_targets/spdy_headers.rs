//! Whatever a header block is, it is read within its bounds or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vk_kubelet::spdy::{
    Headers, ProtocolError,
    header_block::{Inflater, MAX_HEADER, MAX_HEADERS, MAX_INFLATED},
};

/// What begins a zlib stream with the preset dictionary.
const BEGIN: &[u8] = &[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2];

/// Stored, not compressed: so that what is fuzzed reaches what is behind the inflating.
fn stored(plain: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for piece in plain.chunks(0xffff) {
        let length = piece.len() as u16;
        block.push(0);
        block.extend(length.to_le_bytes());
        block.extend((!length).to_le_bytes());
        block.extend(piece);
    }
    block.extend([0, 0, 0, 0xff, 0xff]);
    block
}

fn check(result: &Result<Headers, ProtocolError>) {
    if let Ok(headers) = result {
        assert!(headers.iter().count() <= MAX_HEADERS);
        assert!(headers.iter().all(|(name, value)| name.len() <= MAX_HEADER && value.len() <= MAX_HEADER));
        assert!(headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= MAX_INFLATED);
        let _ = headers.get("streamtype");
    }
}

fuzz_target!(|blocks: Vec<(bool, &[u8])>| {
    let mut inflater = Inflater::default();
    for (number, (is_deflated, bytes)) in blocks.into_iter().enumerate() {
        let mut block = if number == 0 { BEGIN.to_vec() } else { Vec::new() };
        block.extend(if is_deflated { bytes.to_vec() } else { stored(bytes) });
        let result = inflater.headers(&block);
        check(&result);
        if result.is_err() {
            return;
        }
    }
});
