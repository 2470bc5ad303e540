//! Where rendered text goes: bounded in size and work, and obedient to marks (see `mark`).
//!
//! Here links become tracked addresses. The address stands in the text by then, as the recipient would have got it;
//! in HTML it is escaped, so it is decoded before it is signed and redirected to.

use std::io;

use handlebars::Output;

use super::html::decode;
use super::link::{Links, is_web};
use super::mark::{LEAD, Mark};
use crate::model::{DeliveryKey, LinkNo};
use crate::token::Keyring;

/// The most bytes that one text may become.
pub(super) const MAX_RENDERED_BYTES: usize = 512 * 1024;
/// The most tags that loops may evaluate in one text.
pub(super) const MAX_LOOP_WORK: usize = 100_000;

/// How messages of a delivery are tracked.
#[derive(Debug, Clone, Copy)]
pub struct Tracking<'a> {
    pub keyring: &'a Keyring,
    /// Campaign 0 marks a test message.
    pub delivery: DeliveryKey,
    /// What tracked links begin with, without a slash at the end.
    pub public_url: &'a str,
    /// Whether HTML mails carry a pixel.
    pub opens: bool,
    /// Whether links are tracked.
    pub clicks: bool,
    /// The campaign's number of each of the template's links.
    pub links: &'a [LinkNo],
}

impl Tracking<'_> {
    /// Where this recipient unsubscribes (RFC 8058).
    pub fn unsubscribe_url(&self) -> String {
        let mut url = format!("{}/u/", self.public_url);
        self.keyring.mint_unsubscribe(self.delivery, &mut url);
        url
    }

    /// Appends the tracked address of a link; `false`, and nothing appended, where it cannot be tracked.
    fn click_url(&self, number: usize, varying: bool, url: &str, out: &mut String) -> bool {
        let Some(link) = self.links.get(number) else { return false };
        // A test message belongs to no campaign, so no link table knows its links.
        let inside = varying || self.delivery.campaign.0 == 0;
        let before = out.len();
        out.push_str(self.public_url);
        out.push_str("/c/");
        let fits = self.keyring.mint_click(self.delivery, *link, inside.then_some(url), out);
        if !fits {
            out.truncate(before);
        }
        fits
    }

    /// Whether this address leads to one of our own pages, which must work without a redirect.
    fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(self.public_url)
            .is_some_and(|path| path.starts_with("/u/") || path.starts_with("/c/"))
    }
}

/// Why a text was not written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Bytes,
    Work,
}

/// The output of one text for one recipient.
pub(super) struct Writer<'a> {
    out: String,
    html: bool,
    links: &'a Links,
    tracking: &'a Tracking<'a>,
    /// The link whose address is being written, and where it began.
    address: Option<(usize, usize)>,
    work: usize,
    excess: Option<Excess>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(html: bool, capacity: usize, links: &'a Links, tracking: &'a Tracking<'a>) -> Self {
        let out = String::with_capacity(capacity);
        Writer { out, html, links, tracking, address: None, work: 0, excess: None }
    }

    /// The whole text, or which limit it hit.
    pub(super) fn finish(self) -> Result<String, Excess> {
        self.excess.map_or(Ok(self.out), Err)
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        if self.out.len() + text.len() > MAX_RENDERED_BYTES {
            return self.exceed(Excess::Bytes);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn obey(&mut self, mark: Mark) -> io::Result<()> {
        match mark {
            Mark::Link(number) => self.address = Some((number, self.out.len())),
            Mark::LinkEnd => self.end_link(),
            Mark::Pixel => self.pixel(),
            Mark::Work(cost) => {
                self.work += cost;
                if self.work > MAX_LOOP_WORK {
                    return self.exceed(Excess::Work);
                }
            }
        }
        Ok(())
    }

    fn end_link(&mut self) {
        let Some((number, start)) = self.address.take() else { return };
        let varying = self.links.is_varying(number);
        let written = self.out.get(start..).unwrap_or_default();
        let decoded = if self.html { decode(written) } else { written.into() };
        let url = decoded.trim().to_owned();
        if varying && is_code(&url) {
            self.out.truncate(start);
            self.out.push('#');
            return;
        }
        if !self.tracking.clicks || !is_web(&url) || self.tracking.is_ours(&url) {
            return;
        }
        let address = self.out.split_off(start);
        if !self.tracking.click_url(number, varying, &url, &mut self.out) {
            self.out.push_str(&address);
        }
    }

    fn pixel(&mut self) {
        if self.tracking.opens {
            self.out.push_str("<img src=\"");
            self.out.push_str(self.tracking.public_url);
            self.out.push_str("/o/");
            self.tracking.keyring.mint_open(self.tracking.delivery, &mut self.out);
            self.out.push_str("\" width=\"1\" height=\"1\" alt=\"\">");
        }
    }

    fn exceed(&mut self, excess: Excess) -> io::Result<()> {
        self.excess = Some(excess);
        Err(io::ErrorKind::QuotaExceeded.into())
    }
}

impl Output for Writer<'_> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut parts = text.split(LEAD);
        self.text(parts.next().unwrap_or_default())?;
        for part in parts {
            let (mark, rest) = Mark::read(part).ok_or(io::ErrorKind::InvalidData)?;
            self.obey(mark)?;
            self.text(rest)?;
        }
        Ok(())
    }
}

/// Whether data made an address of a kind that runs code where it is opened.
fn is_code(url: &str) -> bool {
    let Some((scheme, _)) = url.split_once(':') else { return false };
    let scheme: String = scheme.split_whitespace().collect();
    ["javascript", "vbscript", "data"].iter().any(|code| scheme.eq_ignore_ascii_case(code))
}
