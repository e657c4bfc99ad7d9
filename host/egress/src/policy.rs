//! What one provider may reach, as the operator wrote it.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::NetGrant;

/// What a provider may reach, and how. The default reaches nothing.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Everything that is allowed (`sandbox.net`).
    pub grants: Vec<NetGrant>,
    /// By origin, `https://host[:port]` or `wss://host[:port]` (`sandbox.tls`). Each must be granted.
    pub tls: BTreeMap<String, TlsSettings>,
    /// Host (a name or an address) and port of what is denied whatever is granted: the API server, the kubelet's own
    /// port. One entry for each address under which a port can be reached; a loopback address stands for all of them.
    /// A name is resolved for every connection to its port, which fails if that does.
    pub denied: Vec<(String, u16)>,
    /// Bounds.
    pub limits: Limits,
}

/// TLS towards one origin.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// PEM certificates trusted beside the system's.
    pub ca: Option<Vec<u8>>,
    /// PEM certificate chain and private key to show to a server that asks. The key never reaches the guest.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name (or IP address) to verify, and to send as SNI, in place of the URL's host.
    pub server_name: Option<String>,
}

/// Leaves the key out.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// Bounds on what goes out, per [`Egress`](crate::Egress).
///
/// The size of a request's body is not among them. A buffered one is in its caller's memory; a streamed one, which passes
/// in small pieces, is bounded by [`request_timeout`](Self::request_timeout) alone.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests at one time, 64 by default; further ones wait, and their time runs. Open connections, idle ones
    /// included, are bounded to four times as many.
    pub requests_in_flight: usize,
    /// Connections of sessions at one time, 512 by default; further ones fail. They are none of those of requests.
    pub sessions: usize,
    /// Bytes of a response's body, 32 MiB by default. The head is bounded by the HTTP library (100 headers, 400 KiB).
    pub response_bytes: u64,
    /// Resolution, TCP and TLS together, 10 s by default.
    pub connect_timeout: Duration,
    /// A whole request, from the call to the response's last byte, 60 s by default; for a session's connection, from the
    /// call to where it stands.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_in_flight: 64,
            sessions: 512,
            response_bytes: 32 << 20,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a [`Policy`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The key of `sandbox.tls` is not an origin.
    #[error("sandbox.tls.\"{origin}\" is not an origin: {reason}")]
    Origin {
        /// As written.
        origin: String,
        /// A sentence.
        reason: String,
    },
    /// `sandbox.tls` has settings for what cannot be reached.
    #[error("sandbox.tls has settings for {0}, which sandbox.net does not grant: grant it, or remove them")]
    NotGranted(String),
    /// The `ca` is unusable.
    #[error("sandbox.tls.\"{origin}\": ca: {reason}")]
    Ca {
        /// As written.
        origin: String,
        /// A sentence.
        reason: String,
    },
    /// The `cert` or `key` is unusable.
    #[error("sandbox.tls.\"{origin}\": cert and key: {reason}")]
    Identity {
        /// As written.
        origin: String,
        /// A sentence.
        reason: String,
    },
    /// The `server-name` is neither a DNS name nor an IP address.
    #[error("sandbox.tls.\"{origin}\": server-name `{name}` is neither a host name nor an IP address")]
    ServerName {
        /// As written.
        origin: String,
        /// As written.
        name: String,
    },
    /// A host in [`Policy::denied`] is neither a name nor an address.
    #[error("the denied host `{host}` cannot be read: {reason}")]
    Denied {
        /// As given.
        host: String,
        /// A sentence.
        reason: String,
    },
    /// A bound that lets nothing through.
    #[error("{0} is zero, so that no request could be sent")]
    Zero(&'static str),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}
