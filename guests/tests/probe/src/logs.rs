//! Logs, whose containers' names say what was written.

use serde_json::json;

use crate::{
    Probe,
    exports::vk::provider::logs::{Chunk, Guest, Query},
    run,
    vk::provider::types::Error,
};

impl Guest for Probe {
    fn read(query: Query, after: Option<Vec<u8>>) -> Result<Chunk, Error> {
        let (verb, rest) = query.container.split_once(' ').unwrap_or((&query.container, ""));
        let number = || rest.parse::<usize>().expect("a number");
        Ok(match verb {
            "query" => last(echo(&query)),
            // One in each piece; the cursor is how many there were.
            "lines" => {
                let before = after.map_or(0, |after| str::from_utf8(&after).expect("text").parse().expect("a number"));
                let next = (before + 1 < number()).then(|| (before + 1).to_string().into_bytes());
                Chunk { data: format!("line {before}\n").into_bytes(), next, read_after: 250 }
            }
            "large-chunk" => last(vec![b'x'; number()]),
            "large-cursor" => Chunk { data: vec![], next: Some(vec![0; number()]), read_after: 0 },
            _ => {
                run(&query.container)?;
                last(b"done".to_vec())
            }
        })
    }
}

fn last(data: Vec<u8>) -> Chunk {
    Chunk { data, next: None, read_after: 0 }
}

fn echo(query: &Query) -> Vec<u8> {
    let Query { pod, previous, timestamps, tail_lines, since, limit_bytes, .. } = query;
    let id = [Some(&pod.namespace), Some(&pod.name), Some(&pod.uid), pod.handle.as_ref()];
    json!([id, previous, timestamps, tail_lines, since, limit_bytes]).to_string().into_bytes()
}
