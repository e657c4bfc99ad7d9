//! Sizes of a terminal come out the same however the pieces that they come in are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vk_kubelet::fuzzing::Resizes;

fuzz_target!(|input: (u8, &[u8])| {
    let (length, bytes) = input;
    let whole = Resizes::default().push(bytes);
    let mut resizes = Resizes::default();
    let mut last = None;
    for piece in bytes.chunks(usize::from(length).max(1)) {
        last = resizes.push(piece).or(last);
    }
    assert_eq!(last, whole);
});
