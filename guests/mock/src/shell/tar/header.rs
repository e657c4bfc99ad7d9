//! The blocks that stand before each member of an archive.

pub(crate) const BLOCK: usize = 512;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    pub(crate) kind: u8,
}

/// The kinds of members that matter here.
pub(crate) const FILE: u8 = b'0';
pub(crate) const DIRECTORY: u8 = b'5';
pub(crate) const EXTENDED: u8 = b'x';
pub(crate) const GLOBAL: u8 = b'g';
pub(crate) const LONG_NAME: u8 = b'L';

/// Where fields are: offset and length.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const OWNER: (usize, usize) = (108, 8);
const GROUP: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MODIFIED: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const KIND: (usize, usize) = (156, 1);
const MAGIC: (usize, usize) = (257, 8);
const PREFIX: (usize, usize) = (345, 155);

impl Header {
    /// Reads a block; `None` if it is no header.
    pub(crate) fn read(block: &[u8; BLOCK]) -> Option<Self> {
        if number(field(block, CHECKSUM))? != checksum(block) {
            return None;
        }
        let mut name = text(field(block, NAME));
        let prefix = text(field(block, PREFIX));
        // GNU's own format has other things in the place of the prefix.
        if field(block, MAGIC).starts_with(b"ustar\0") && !prefix.is_empty() {
            name = format!("{prefix}/{name}");
        }
        let kind = field(block, KIND).first().copied()?;
        Some(Self {
            name,
            mode: u32::try_from(number(field(block, MODE))?).ok()?,
            size: number(field(block, SIZE))?,
            modified: number(field(block, MODIFIED))?,
            kind: if kind == 0 { FILE } else { kind },
        })
    }

    /// Appends the header, and before it an extended one if the name is too long for it.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        if self.name.len() > NAME.1 {
            let record = record("path", &self.name);
            let size = record.len();
            Self { name: "pax".to_owned(), mode: 0o644, size: size as u64, modified: 0, kind: EXTENDED }.block(to);
            to.extend(record);
            pad(size as u64, to);
        }
        self.block(to);
    }

    fn block(&self, to: &mut Vec<u8>) {
        let mut block = [0; BLOCK];
        put(&mut block, NAME, self.name.as_bytes());
        put(&mut block, MODE, format!("{:07o}", self.mode).as_bytes());
        put(&mut block, OWNER, b"0000000");
        put(&mut block, GROUP, b"0000000");
        put(&mut block, SIZE, format!("{:011o}", self.size).as_bytes());
        put(&mut block, MODIFIED, format!("{:011o}", self.modified).as_bytes());
        put(&mut block, KIND, &[self.kind]);
        put(&mut block, MAGIC, b"ustar\x0000");
        let sum = format!("{:06o}\0 ", checksum(&block));
        put(&mut block, CHECKSUM, sum.as_bytes());
        to.extend(block);
    }
}

/// The value of a key in an extended header, `LENGTH KEY=VALUE\n` each.
pub(crate) fn extended(mut records: &[u8], wanted: &str) -> Option<String> {
    let mut found = None;
    while let Some(space) = records.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
        let record = std::str::from_utf8(records.get(space + 1..length.checked_sub(1)?)?).ok()?;
        if let Some((key, value)) = record.split_once('=')
            && key == wanted
        {
            found = Some(value.to_owned());
        }
        records = records.get(length..)?;
    }
    found
}

/// A record of an extended header. Its length counts itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

/// Appends what fills the last block of a member of this size.
pub(crate) fn pad(size: u64, to: &mut Vec<u8>) {
    to.extend(std::iter::repeat_n(0, padding(size)));
}

/// How many bytes fill the last block of a member of this size.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK - over }
}

fn field(block: &[u8; BLOCK], (offset, length): (usize, usize)) -> &[u8] {
    block.get(offset..offset + length).unwrap_or_default()
}

fn put(block: &mut [u8; BLOCK], (offset, length): (usize, usize), value: &[u8]) {
    for (place, byte) in block.iter_mut().skip(offset).take(length).zip(value) {
        *place = *byte;
    }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// A number in octal digits, or in binary with the highest bit set.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first @ 0x80.., rest)) = field.split_first() {
        let first = u64::from(first & 0x7f);
        return rest.iter().try_fold(first, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)));
    }
    let text = text(field);
    match text.trim() {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8).ok(),
    }
}

/// The sum of the block's bytes, with spaces in the place of the sum.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let place = CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1;
    let byte = |(index, byte): (usize, &u8)| if place.contains(&index) { b' '.into() } else { u64::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header { name: "a/b".into(), mode: 0o755, size: 1234, modified: 1_700_000_000, kind: FILE };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        let block: [u8; BLOCK] = bytes.clone().try_into().unwrap();
        assert_eq!(Header::read(&block), Some(header));
        let mut broken = block;
        broken[0] = b'x';
        assert_eq!(Header::read(&broken), None);
        assert_eq!(Header::read(&[0; BLOCK]), None);
    }

    #[test]
    fn a_long_name_goes_into_an_extended_header() {
        let name = "d/".repeat(90) + "file";
        let mut bytes = Vec::new();
        Header { name: name.clone(), mode: 0o644, size: 0, modified: 0, kind: FILE }.write(&mut bytes);
        assert_eq!(bytes.len(), 3 * BLOCK);
        let first = Header::read(bytes[..BLOCK].try_into().unwrap()).unwrap();
        assert_eq!(first.kind, EXTENDED);
        let records = &bytes[BLOCK..BLOCK + usize::try_from(first.size).unwrap()];
        assert_eq!(extended(records, "path"), Some(name));
        assert_eq!(extended(records, "size"), None);
    }

    #[test]
    fn records_that_are_broken_are_none() {
        for records in [&b"5 a"[..], b"x a=b\n", b"0 a=b\n", b"99 path=x\n", b"\xff path=x\n"] {
            assert_eq!(extended(records, "path"), None, "{records:?}");
        }
        // The length may gain a digit by counting itself.
        assert_eq!(extended(&record("k", &"v".repeat(95)), "k"), Some("v".repeat(95)));
    }
}
