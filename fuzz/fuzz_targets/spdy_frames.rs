//! Frames come out the same however what is received is cut, and none is larger than its kind may be.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use vk_kubelet::spdy::{
    ProtocolError,
    frame::{Decoder, Frame, MAX_CONTROL_FRAME},
};

#[derive(Debug, PartialEq)]
enum Said {
    Frame(Frame),
    Data { id: u32, bytes: Vec<u8>, fin: bool },
}

fn push(said: &mut Vec<Said>, frame: Frame) {
    match (frame, said.last_mut()) {
        // Pieces of one frame, or frames that say together what one would.
        (Frame::Data { id, bytes, fin }, Some(Said::Data { id: before, bytes: all, fin: false })) if *before == id => {
            all.extend_from_slice(&bytes);
            if fin {
                said.push(Said::Data { id, bytes: Vec::new(), fin });
            }
        }
        (Frame::Data { id, bytes, fin }, _) => {
            said.push(Said::Data { id, bytes: bytes.to_vec(), fin: false });
            if fin {
                said.push(Said::Data { id, bytes: Vec::new(), fin });
            }
        }
        (frame, _) => {
            let block: &Bytes = match &frame {
                Frame::SynStream { block, .. } | Frame::Headers { block, .. } => block,
                _ => &Bytes::new(),
            };
            assert!(block.len() <= MAX_CONTROL_FRAME);
            said.push(Said::Frame(frame));
        }
    }
}

fn decode(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<Said>, Option<ProtocolError>) {
    let (mut decoder, mut received, mut said) = (Decoder::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        received.extend_from_slice(piece.as_ref());
        loop {
            match decoder.next(&mut received) {
                Ok(Some(frame)) => push(&mut said, frame),
                Ok(None) => break,
                Err(error) => return (said, Some(error)),
            }
        }
        assert!(received.len() < MAX_CONTROL_FRAME + 8, "more is kept than a frame may be large");
    }
    (said, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = decode(std::iter::once(bytes));
    let cut = decode(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
});
