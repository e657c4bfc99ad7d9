//! The opening handshake, RFC 6455 section 4.2.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{body::Body, refusal::Refusal, upgrade};

const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Chooses a protocol: the first that the client offers and the server has, but `preferred` wherever it stands in the
/// list. The one named "" is for clients that offer nothing. Yields it with the answer that takes the upgrade, or the
/// answer that does not.
pub(crate) fn negotiate<T: Copy>(
    method: &Method,
    headers: &HeaderMap,
    supported: &[(&'static str, T)],
    preferred: &'static str,
) -> Result<(T, Response<Body>), Refusal> {
    let refuse = |text: &str| Err(upgrade::refuse(StatusCode::BAD_REQUEST, text));
    if method != Method::GET {
        return refuse("unable to upgrade: a WebSocket begins with a GET");
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return refuse("unable to upgrade: Sec-WebSocket-Key is required");
    };
    if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        let text = "unable to upgrade: Sec-WebSocket-Version is not 13";
        let refusal = upgrade::refuse(StatusCode::UPGRADE_REQUIRED, text);
        return Err(refusal.with(header::SEC_WEBSOCKET_VERSION, VERSION));
    }
    let (name, protocol) = choose(headers, supported, preferred)?;

    let mut response = upgrade::switch("websocket");
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let Ok(accept) = accept else { return refuse("unable to upgrade: Sec-WebSocket-Key is malformed") };
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !name.is_empty() {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok((protocol, response))
}

fn choose<T: Copy>(
    headers: &HeaderMap,
    supported: &[(&'static str, T)],
    preferred: &'static str,
) -> Result<(HeaderValue, T), Refusal> {
    const OFFERS: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;
    let offers = || upgrade::listed(headers, OFFERS);
    let chosen = if offers().next().is_none() {
        upgrade::choose([""].into_iter(), supported)
    } else {
        upgrade::choose(offers().filter(|offer| *offer == preferred), supported)
            .or_else(|| upgrade::choose(offers(), supported))
    };
    chosen.ok_or_else(|| {
        let text = upgrade::no_common_protocol("Sec-WebSocket-Protocol", supported);
        upgrade::refuse(StatusCode::FORBIDDEN, text)
    })
}
