//! Where the registry may listen, and by which names it may be called.

use std::net::SocketAddr;

/// Why the registry does not listen on an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The address can be reached from other machines, and nobody allowed that.
    #[error(
        "the registry does not listen on {address}: other machines could reach it, and it asks nobody who they are"
    )]
    Public {
        /// The address that was asked for.
        address: SocketAddr,
    },
}

impl AddressError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Public { .. } => {
                "listen on 127.0.0.1 (far hosts reach it through their SSH connection), or allow it explicitly on a network you trust"
            }
        }
    }
}

/// Whether the registry may listen on an address: on loopback always, elsewhere only where `public` is allowed.
///
/// # Errors
/// [`AddressError::Public`] for an address that is not loopback (also `0.0.0.0` and `::`) without `public`.
pub fn check_address(address: SocketAddr, public: bool) -> Result<(), AddressError> {
    if public || address.ip().to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(AddressError::Public { address })
    }
}

/// Whether a `Host` header names this machine's loopback. A web page that lets its own host name resolve to 127.0.0.1
/// could otherwise make its visitor's browser read and write the registry.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_taken_unless_told_otherwise() {
        for (address, loopback) in [
            ("127.0.0.1:5000", true),
            ("127.9.9.9:0", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]:5000", true),
            ("0.0.0.0:5000", false),
            ("[::]:5000", false),
            ("10.0.0.1:5000", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(check_address(address, false).is_ok(), loopback, "{address}");
            assert!(check_address(address, true).is_ok());
        }
    }

    #[test]
    fn host_headers_of_loopback_are_recognised() {
        for host in
            ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "a.localhost:80", "127.1.2.3"]
        {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["", "evil.example", "127.0.0.1.evil.example", "10.0.0.1:5000", "localhost.evil", "[::2]:1"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
