//! The head of an outgoing request: what a guest may set, checked and put into the HTTP library's types.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use percent_encoding::percent_decode_str;

use crate::{
    Failure,
    connect::UNIX_SCHEME,
    gate::Gate,
    origin::{Origin, Scheme, SocketPath},
};

/// The URI that the HTTP client gets, once the gate has admitted it, and for messages what it stands for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) origin: String,
    /// Host as a socket's requests have it. Others get theirs from the URI.
    pub(crate) host: Option<HeaderValue>,
}

impl Target {
    /// Reads a URL and asks the gate.
    pub(crate) fn read(url: &str, gate: &Gate) -> Result<Self, Failure> {
        match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(UNIX_SCHEME) => Self::socket(rest, gate),
            _ => Self::admit(uri(url)?, gate),
        }
    }

    /// Asks the gate about a URI. None stands for a socket, whose escaped path a [`Uri`] cannot hold.
    pub(crate) fn admit(uri: Uri, gate: &Gate) -> Result<Self, Failure> {
        let origin = Origin::of(&uri).map_err(Failure::Invalid)?;
        if !matches!(origin.scheme, Scheme::Http | Scheme::Https) {
            return Err(Failure::Invalid("an HTTP request's URL begins with http:// or https://".into()));
        }
        Self::admitted(uri, &origin, gate)
    }

    /// Reads the URL of a WebSocket and asks the gate.
    pub(crate) fn websocket(url: &str, gate: &Gate) -> Result<Self, Failure> {
        let uri = uri(url)?;
        let origin = Origin::of(&uri).map_err(Failure::Invalid)?;
        if !matches!(origin.scheme, Scheme::Ws | Scheme::Wss) {
            return Err(Failure::Invalid("a WebSocket's URL begins with ws:// or wss://".into()));
        }
        Self::admitted(uri, &origin, gate)
    }

    fn admitted(uri: Uri, origin: &Origin, gate: &Gate) -> Result<Self, Failure> {
        gate.admit(origin)?;
        Ok(Self { uri, origin: origin.to_string(), host: None })
    }

    fn socket(rest: &str, gate: &Gate) -> Result<Self, Failure> {
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let decoded = percent_decode_str(authority).decode_utf8();
        let decoded = decoded.map_err(|_| Failure::Invalid("the socket's path is not UTF-8".into()))?;
        let socket = SocketPath::parse(&decoded).map_err(Failure::Invalid)?;
        let number = gate.admit_socket(&socket)?;
        let uri = uri(&format!("{UNIX_SCHEME}://{number}{path}"))?;
        Ok(Self { uri, origin: socket.to_string(), host: Some(HeaderValue::from_static("localhost")) })
    }
}

/// Says nothing of the URL itself, which may hold secrets.
fn uri(text: &str) -> Result<Uri, Failure> {
    Uri::try_from(text).map_err(|error| Failure::Invalid(format!("the URL cannot be read: {error}")))
}

/// Reads a method. CONNECT would make a tunnel out of a request.
pub(crate) fn method(text: &str) -> Result<Method, Failure> {
    let method = Method::from_bytes(text.as_bytes())
        .map_err(|_| Failure::Invalid(format!("`{}` is not a method", text.escape_debug())))?;
    if method == Method::CONNECT {
        return Err(Failure::Invalid("the method CONNECT is not available to providers".into()));
    }
    Ok(method)
}

/// A response's headers, names in lower case. What is not UTF-8 in a value is replaced.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(pair).collect()
}

/// How many headers a request may have; servers take about a hundred.
const MAX_HEADERS: usize = 1_000;

/// Reads headers, in order.
pub(crate) fn headers(pairs: Vec<(String, String)>) -> Result<HeaderMap, Failure> {
    let too_many = || Failure::Invalid(format!("there are more than {MAX_HEADERS} headers"));
    if pairs.len() > MAX_HEADERS {
        return Err(too_many());
    }
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let shown = name.escape_debug();
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Failure::Invalid(format!("`{shown}` is not the name of a header")))?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(value))
            .map_err(|_| Failure::Invalid(format!("the value of header `{shown}` has control characters")))?;
        headers.try_append(key, value).map_err(|_| too_many())?;
    }
    Ok(headers)
}

/// The refusal of a header that belongs to the host.
pub(crate) fn refused(name: &HeaderName) -> Failure {
    Failure::Invalid(format!("a provider may not set the header {name}"))
}

/// Refuses what belongs to the host, keeps secrets out of compression tables and logs, and adds the length of an empty
/// body where servers ask for it (RFC 9110, section 8.6); the HTTP library adds that of others.
pub(crate) fn finish(method: &Method, headers: &mut HeaderMap, body_length: Option<u64>) -> Result<(), Failure> {
    for name in headers.keys() {
        let is_hosts = [HOST, CONNECTION, UPGRADE, TRANSFER_ENCODING, TE, TRAILER].contains(name)
            || matches!(name.as_str(), "keep-alive" | "http2-settings")
            || name.as_str().starts_with("proxy-");
        if is_hosts {
            return Err(refused(name));
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next(), body_length) {
        (None, _, Some(0)) if [Method::POST, Method::PUT, Method::PATCH].contains(method) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        (None, ..) => {}
        (Some(length), None, body) => {
            let said = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let said = said.and_then(|text| text.parse::<u64>().ok());
            let said = said.ok_or_else(|| Failure::Invalid("the header content-length is not a number".into()))?;
            if let Some(body) = body
                && body != said
            {
                return Err(Failure::Invalid(format!(
                    "the header content-length is {said}, the body has {body} bytes"
                )));
            }
        }
        (Some(_), Some(_), _) => return Err(Failure::Invalid("the header content-length is set twice".into())),
    }
    for (name, value) in headers.iter_mut() {
        if [AUTHORIZATION, COOKIE].contains(name) {
            value.set_sensitive(true);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], method: Method, length: Option<u64>) -> Result<HeaderMap, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut headers = headers(pairs).map_err(|failure| failure.to_string())?;
        finish(&method, &mut headers, length).map_err(|failure| failure.to_string())?;
        Ok(headers)
    }

    #[test]
    fn headers_that_belong_to_the_host_are_refused_by_name() {
        for name in [
            "Host",
            "CONNECTION",
            "Upgrade",
            "Transfer-Encoding",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Proxy-Authorization",
            "Proxy-Connection",
            "proxy-anything",
            "HTTP2-Settings",
        ] {
            let refusal = check(&[("accept", "*/*"), (name, "x")], Method::GET, Some(0)).unwrap_err();
            assert_eq!(refusal, format!("a provider may not set the header {}", name.to_lowercase()));
        }
    }

    #[test]
    fn malformed_headers_are_refused_without_their_values() {
        for (name, value) in
            [("", "x"), ("a b", "x"), ("a\r\nb", "x"), ("ü", "x"), ("x", "hunter2\r\nhost: y"), ("x", "hunter2\0")]
        {
            let refusal = check(&[(name, value)], Method::GET, Some(0)).unwrap_err();
            assert!(!refusal.contains("hunter2") && !refusal.contains('\n'), "{refusal}");
        }
        let many = vec![("x".to_owned(), "y".to_owned()); MAX_HEADERS + 1];
        assert!(matches!(headers(many), Err(Failure::Invalid(text)) if text == "there are more than 1000 headers"));
    }

    #[test]
    fn a_content_length_must_be_the_bodys() {
        let length = |text: &'static str, body| check(&[("content-length", text)], Method::POST, body).is_ok();
        assert!(length("3", Some(3)) && length("3", None));
        for (text, body) in [("3", Some(4)), ("+3", Some(3)), ("x", None), ("-1", None), ("3, 3", Some(3))] {
            assert!(!length(text, body), "{text}");
        }
        assert!(check(&[("content-length", "3"), ("Content-Length", "3")], Method::POST, Some(3)).is_err());
    }

    #[test]
    fn an_empty_body_has_a_length_where_the_method_expects_a_body() {
        for (method, added) in
            [(Method::POST, true), (Method::PUT, true), (Method::GET, false), (Method::DELETE, false)]
        {
            assert_eq!(check(&[], method, Some(0)).unwrap().contains_key(CONTENT_LENGTH), added);
        }
        assert!(!check(&[], Method::POST, None).unwrap().contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn secrets_are_marked() {
        let headers = check(&[("Authorization", "hunter2"), ("accept", "*/*")], Method::GET, Some(0)).unwrap();
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn connect_is_not_a_method_for_providers() {
        assert!(method("CONNECT").is_err() && method("GE T").is_err() && method("").is_err());
        assert_eq!(method("PURGE").unwrap().as_str(), "PURGE");
    }

    #[test]
    fn a_sockets_path_and_the_requests_path_are_told_apart() {
        let gate = Gate::new(vec!["unix:///run/docker.sock".parse().unwrap()], vec![]).unwrap();
        let target = |url| Target::read(url, &gate).map(|target| target.uri.to_string());
        let asked = target("http+unix://%2Frun%2Fdocker.sock/v1.44/a%2Fb/../c?x=%20");
        assert_eq!(asked.as_deref(), Ok("http+unix://0/v1.44/a%2Fb/../c?x=%20"));
        assert!(matches!(target("http+unix://%2Frun%2F..%2Frun%2Fdocker.sock/"), Err(Failure::Invalid(_))));
        assert!(matches!(target("http+unix://%2Frun%2Fother.sock/"), Err(Failure::Denied(_))));
        assert!(matches!(target("http+unix://0/"), Err(Failure::Invalid(_))));
        assert!(matches!(Target::admit(Uri::from_static("http+unix://0/"), &gate), Err(Failure::Invalid(_))));
    }
}
