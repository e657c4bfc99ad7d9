//! Free ports on loopback for programs that cannot be asked which port they took.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::Error;

/// A port on 127.0.0.1 that the kernel gives to nobody else for the next minute.
///
/// The listener closes an accepted connection first, which leaves the port in TIME_WAIT: no other bind to port 0 gets it,
/// while a server that sets SO_REUSEADDR, as all Go programs do, can bind it by number. So control planes that start at
/// the same time do not take each other's ports between the choice and the bind.
pub(crate) fn reserve() -> Result<u16, Error> {
    let take = || -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let client = TcpStream::connect(address)?;
        let (accepted, _) = listener.accept()?;
        drop(accepted);
        drop(client);
        Ok(address.port())
    };
    take().map_err(Error::Port)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_out_again_but_can_be_bound() {
        let ports: Vec<u16> = (0..50).map(|_| reserve().expect("a port")).collect();
        let others: Vec<TcpListener> =
            (0..200).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener")).collect();
        let taken: HashSet<u16> = others.iter().map(|l| l.local_addr().expect("an address").port()).collect();
        assert!(ports.iter().all(|port| !taken.contains(port)));
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a reserved port can be bound by number");
        }
    }
}
