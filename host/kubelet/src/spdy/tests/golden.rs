//! What a real kubectl sent.

use bytes::BytesMut;

use crate::spdy::{
    Headers, Status,
    frame::{Decoder, Frame},
    header_block::Inflater,
};

const EXEC: &[&str] = &[
    "80030001 00000029 00000001 00000000 0000 78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff",
    "80030001 00000017 00000003 00000000 0000 c22e555c92929907000000ffff",
    "80030001 00000019 00000005 00000000 0000 c22ac5565c92925f5a02000000ffff",
    "80030001 00000015 00000007 00000000 0000 c229975a5404000000ffff",
];

const PORT_FORWARD: &[&str] = &[
    "80030001 0000003d 00000001 00000000 0000 78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45a024cc6461c0c0c0c0590489c44c50e2663400000000ffff",
    "00000001 01000000",
    "80030001 0000001a 00000003 00000000 0000 826a25a406d56850299508000000ffff",
];

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// The streams that are opened, with what is asked of their headers.
fn opened(received: impl IntoIterator<Item = Vec<u8>>, names: &[&str]) -> Vec<(u32, Vec<String>)> {
    let (mut decoder, mut inflater, mut buffer) = (Decoder::default(), Inflater::default(), BytesMut::new());
    let mut opened = Vec::new();
    for piece in received {
        buffer.extend_from_slice(&piece);
        while let Some(frame) = decoder.next(&mut buffer).unwrap() {
            if let Frame::SynStream { id, block, fin: false, unidirectional: false } = frame {
                let headers: Headers = inflater.headers(&block).unwrap();
                assert_eq!(headers.iter().count(), names.len());
                opened.push((id, names.iter().map(|name| headers.get(name).unwrap().to_owned()).collect()));
            }
        }
    }
    assert!(buffer.is_empty());
    opened
}

fn exec_streams() -> Vec<(u32, Vec<String>)> {
    [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")].map(|(id, kind)| (id, vec![kind.to_owned()])).into()
}

#[test]
fn streams_of_exec() {
    assert_eq!(opened(EXEC.iter().map(|hex| bytes(hex)), &["streamtype"]), exec_streams());
}

#[test]
fn streams_of_exec_in_every_two_pieces_and_byte_by_byte() {
    let all: Vec<u8> = EXEC.iter().flat_map(|hex| bytes(hex)).collect();
    for split in 0..=all.len() {
        let (first, second) = all.split_at(split);
        assert_eq!(opened([first.to_vec(), second.to_vec()], &["StreamType"]), exec_streams());
    }
    assert_eq!(opened(all.iter().map(|byte| vec![*byte]), &["streamtype"]), exec_streams());
}

#[test]
fn streams_of_port_forward() {
    assert_eq!(
        opened(PORT_FORWARD.iter().map(|hex| bytes(hex)), &["streamtype", "port", "requestid"]),
        [("error", 1), ("data", 3)].map(|(kind, id)| (id, vec![kind.to_owned(), "80".to_owned(), "0".to_owned()]))
    );
}

#[test]
fn frames_without_headers() {
    let decode = |hex: &str| Decoder::default().next(&mut BytesMut::from(&*bytes(hex)));
    assert_eq!(
        decode("80030003 00000008 00000005 00000005"),
        Ok(Some(Frame::RstStream { id: 5, status: Status::CANCEL }))
    );
    assert_eq!(decode("80030007 00000008 00000000 00000000"), Ok(Some(Frame::GoAway)));
    assert_eq!(decode("80030006 00000004 00000001"), Ok(Some(Frame::Ping(1))));
}
