//! `[http]` and `[tracking]`: the two listeners, what the public one takes for a machine, and where events wait for the
//! store.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::grammar;
use super::reader::Table;
use super::secret::Secret;
use crate::model::rate::{Period, Rate};

#[derive(Debug, Clone)]
pub struct Http {
    /// What recipients and providers reach.
    pub public: SocketAddr,
    /// Everything else; demands API tokens where it is no loopback address.
    pub admin: SocketAddr,
    /// Names by which the admin listener may be called, beside `localhost` and addresses.
    pub admin_hosts: Vec<String>,
    /// What commands show to the daemon.
    pub token: Option<Secret>,
    /// What links in messages begin with; `http` or `https`, no slash at the end.
    pub public_url: String,
    /// Only a request from here may say by `X-Forwarded-For` whom it is for.
    pub trusted_proxies: Vec<IpNet>,
    pub limits: HttpLimits,
}

/// What the public listener grants. Those per address count neither loopback nor, for connections, trusted proxies.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// At a time, in total.
    pub connections: usize,
    /// At a time, of one address; `None`: as many as there are.
    pub connections_per_address: Option<usize>,
    /// Opens, clicks and unsubscribes with a true token.
    pub requests_per_address: Option<Rate>,
    /// Calls of hooks that were not taken; beyond it none of the address's is looked at.
    pub refused_calls_per_address: Option<Rate>,
    /// Until a request's head is complete, and between two requests.
    pub head_within: Duration,
}

impl Http {
    /// `address` is where the public listener is, also where `public` asked for any free port. Links lead there unless
    /// `public_url` says otherwise.
    pub fn public_is(&mut self, address: SocketAddr) {
        if self.public_url == url_of(self.public) {
            self.public_url = url_of(address);
        }
        self.public = address;
    }
}

fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// What makes an open or a click a machine's, where `None` switches the rule off; and the disk for a store that is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracking {
    /// Sooner after the delivery than a person could be.
    pub machine_within: Option<Duration>,
    /// All links of a message within this time.
    pub machine_links_within: Option<Duration>,
    /// Recipients that one block of addresses touches in a minute.
    pub machine_addresses: Option<u32>,
    /// The folder of events that the store did not take yet; one daemon's own.
    pub spool: PathBuf,
    /// In bytes, at most.
    pub spool_limit: u64,
    /// Spooled events that are older are thrown away.
    pub spool_age: Duration,
}

pub(super) fn http(mut table: Table<'_>) -> Option<Http> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let public = table.text("public", grammar::socket_address).unwrap_or(loopback(8080));
    let admin = table.text("admin", grammar::socket_address).unwrap_or(loopback(8081));
    if public == admin && public.port() != 0 {
        table.problem("admin", "is the same as `http.public`; recipients must not reach it");
    }
    if !public.ip().is_loopback() {
        table.require("public_url", "what links in messages begin with, as `https://mail.example.com`");
    }
    let given = table.has("public_url");
    let public_url = table.text("public_url", grammar::public_url);
    let public_url = if given { public_url } else { Some(url_of(public)) };
    let trusted_proxies = table.list("trusted_proxies", grammar::network).unwrap_or_default();
    let admin_hosts = table.list("admin_hosts", grammar::host).unwrap_or_default();
    let token = table.secret("token", "token_file", |token| grammar::line(token).map(drop));
    let limits = limits(table.table("limits"));
    table.finish();
    Some(Http { public, admin, admin_hosts, token, public_url: public_url?, trusted_proxies, limits })
}

fn limits(mut table: Table<'_>) -> HttpLimits {
    const WANTED: &str = "a whole number, at least 1";
    let connections = table.number("connections", WANTED).map_or(4_096, NonZeroUsize::get);
    let connections_per_address = match table.is_off("connections_per_address") {
        true => None,
        false => Some(table.number("connections_per_address", WANTED).map_or(512, NonZeroUsize::get)),
    };
    let mut rate = |key, count| match table.is_off(key) {
        true => None,
        false => Some(table.text(key, str::parse).unwrap_or(Rate { count, period: Period::Second })),
    };
    let requests_per_address = rate("requests_per_address", 1_000);
    let refused_calls_per_address = rate("refused_calls_per_address", 10);
    let head_within = table.text("head_within", grammar::wait).unwrap_or(Duration::from_secs(10));
    table.finish();
    HttpLimits {
        connections,
        connections_per_address,
        requests_per_address,
        refused_calls_per_address,
        head_within,
    }
}

pub(super) fn tracking(mut table: Table<'_>) -> Tracking {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let machine_within = match table.is_off("machine_within") {
        true => None,
        false => table.text("machine_within", grammar::duration).or(seconds(2)),
    };
    let machine_links_within = match table.is_off("machine_links_within") {
        true => None,
        false => table.text("machine_links_within", grammar::duration).or(seconds(3)),
    };
    let machine_addresses = match table.is_off("machine_addresses") {
        true => None,
        false => {
            let wanted = "a whole number, at least 1, or \"off\"";
            table.number("machine_addresses", wanted).map(NonZeroU32::get).or(Some(50))
        }
    };
    let spool = table.path("spool").unwrap_or_else(|| table.in_folder("data/spool"));
    let spool_limit = table.text("spool_limit", grammar::size).unwrap_or(1 << 30);
    let spool_age = table.text("spool_age", grammar::wait).unwrap_or(Duration::from_secs(30 * 86_400));
    table.finish();
    Tracking { machine_within, machine_links_within, machine_addresses, spool, spool_limit, spool_age }
}
