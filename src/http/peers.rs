//! How many connections each address holds. Remembers nobody who holds none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::network_of;

#[derive(Debug)]
pub(super) struct Peers {
    /// Of one address, at a time.
    most: usize,
    /// Whose connections are not counted.
    exempt: Vec<IpNet>,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; it is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    peers: Arc<Peers>,
    counted: Option<IpAddr>,
}

impl Peers {
    pub(super) fn new(most: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Peers { most, exempt, held: Mutex::default() })
    }

    /// `None` where the address holds as many as it may.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Visit> {
        let ip = ip.to_canonical();
        if self.exempt.iter().any(|network| network.contains(&ip)) {
            return Some(Visit { peers: self.clone(), counted: None });
        }
        let address = network_of(ip);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = held.entry(address).or_insert(0);
        if *connections >= self.most {
            return None;
        }
        *connections += 1;
        Some(Visit { peers: self.clone(), counted: Some(address) })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(address) = self.counted else { return };
        let mut held = self.peers.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = held.get_mut(&address) {
            *connections -= 1;
            if *connections == 0 {
                held.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_gets_them_back() {
        let peers = Peers::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let enter = |ip: &str| peers.enter(ip.parse().unwrap());
        let held = [enter("192.0.2.1"), enter("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        let proxied: Vec<_> = (0..10).map(|_| enter("10.1.2.3")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop((held, proxied));
        assert!(enter("192.0.2.1").is_some());
        assert!(peers.held.lock().unwrap().is_empty());
    }
}
