//! `tar`, as far as `kubectl cp` runs it: `tar cf - PATH` and `tar -xmf - -C DIRECTORY`, in ustar with pax headers.

mod header;
mod pack;
mod unpack;

pub(crate) use pack::Packer;
pub(crate) use unpack::Unpacker;

use super::{
    command::{Started, fail},
    job::Job,
};
use crate::files::{self, Files};

/// Starts `tar` with these arguments.
pub(crate) fn start(arguments: &[&str], files: &Files) -> Started {
    let mut parsed = Arguments::default();
    if let Err(problem) = parsed.read(arguments) {
        return fail(2, format!("tar: {problem}"));
    }
    let Some(directory) = files::absolute("/", parsed.directory) else {
        return fail(2, format!("tar: {}: Cannot open: No such file or directory", parsed.directory));
    };
    match (parsed.mode, parsed.paths.as_slice()) {
        (Some('c'), []) => fail(2, "tar: Cowardly refusing to create an empty archive".to_owned()),
        (Some('c'), [path]) => match files::absolute(&directory, path) {
            Some(whole) => Started::Job(Job::Pack(Packer::new(path, whole, files))),
            None => fail(2, format!("tar: {path}: Cannot stat: No such file or directory")),
        },
        (Some('x'), []) => Started::Job(Job::Unpack(Unpacker::new(directory))),
        (Some(_), _) => fail(2, "tar: the mock packs one path, and unpacks whole archives".to_owned()),
        (None, _) => fail(2, "tar: You must specify one of -c and -x".to_owned()),
    }
}

#[derive(Default)]
struct Arguments<'a> {
    mode: Option<char>,
    directory: &'a str,
    paths: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    fn read(&mut self, arguments: &[&'a str]) -> Result<(), String> {
        let mut rest = arguments.iter().copied().enumerate();
        while let Some((index, argument)) = rest.next() {
            let flags = match argument.strip_prefix('-') {
                // Owners and permissions are not kept anyway.
                Some(long) if long.starts_with("-no-same-") => continue,
                Some(long) if long.starts_with('-') => return Err(format!("unrecognized option '{argument}'")),
                Some(flags) => flags,
                None if index == 0 => argument,
                None => {
                    self.paths.push(argument);
                    continue;
                }
            };
            for flag in flags.chars() {
                match flag {
                    'c' | 'x' => self.mode = Some(flag),
                    'f' => match rest.next() {
                        Some((_, "-")) => {}
                        _ => return Err("the mock has archives on - only".to_owned()),
                    },
                    'C' => self.directory = rest.next().ok_or("option requires an argument -- 'C'")?.1,
                    'm' | 'o' | 'p' => {}
                    _ => return Err(format!("invalid option -- '{flag}'")),
                }
            }
        }
        Ok(())
    }
}
