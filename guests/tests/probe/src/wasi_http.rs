//! Requests over `wasi:http`: a GET, and many that are made and never sent.

use wasip2::http::{
    outgoing_handler::handle,
    types::{Fields, Method, OutgoingRequest, Scheme},
};

pub(crate) fn get(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(&Method::Get).map_err(|()| "method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(&rest[..at])).map_err(|()| "authority")?;
    request.set_path_with_query(Some(&rest[at..])).map_err(|()| "path")?;
    let future = handle(request, None).map_err(|error| format!("{error:?}"))?;
    future.subscribe().block();
    let response = future.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let body = response.consume().map_err(|()| "consumed")?;
    let stream = body.stream().map_err(|()| "streamed")?;
    let mut bytes = Vec::new();
    while let Ok(chunk) = stream.blocking_read(1 << 16) {
        bytes.extend(chunk);
    }
    Ok(format!("{status} {}", String::from_utf8_lossy(&bytes)))
}

/// Makes so many requests, puts into each as much as the host takes, and keeps them. Returns how many took a method and
/// how many an authority of 1 MiB.
pub(crate) fn hoard(count: u64) -> (u64, u64) {
    let long = "x".repeat(1 << 20);
    let path = format!("/{}", &long[..60_000]);
    let (mut methods, mut authorities) = (0, 0);
    for _ in 0..count {
        let fields = Fields::new();
        for _ in 0..7 {
            fields.append("x-hoard", &long.as_bytes()[..4 << 10]).expect("room for 28 KiB");
        }
        let request = OutgoingRequest::new(fields);
        methods += u64::from(request.set_method(&Method::Other(long.clone())).is_ok());
        authorities += u64::from(request.set_authority(Some(&long)).is_ok());
        request.set_path_with_query(Some(&path)).expect("a path of 60 KB");
        let body = request.body().expect("the first body");
        let stream = body.write().expect("the first stream");
        while let Ok(room @ 1..) = stream.check_write() {
            stream.write(&long.as_bytes()[..long.len().min(room as usize)]).expect("what there is room for");
        }
        drop(stream);
        // Without their destructors: the host is to hold them.
        std::mem::forget((request, body));
    }
    (methods, authorities)
}
