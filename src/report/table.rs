//! A report for a terminal: the funnel with bars, where the rest went, rates with what they are made of, links, hours.
//!
//! Plain text without colours. Control characters in names and links never reach the terminal.

use comfy_table::{CellAlignment, Table, presets};

use super::figure::{number, percent};
use super::{Ratio, Report};
use crate::store::reports::Engaged;

const BAR: usize = 24;
/// A standing campaign has thousands of hours; JSON and CSV have them all.
const HOURS: usize = 24;

impl Report {
    /// The report as lines of text, without a line break at the end.
    pub fn table(&self) -> String {
        let mut parts =
            vec![self.heading(), self.funnel(), self.exits(), self.engagement(), self.rate_lines()];
        parts.extend(self.link_lines());
        parts.extend(self.hour_lines());
        parts.join("\n\n")
    }

    fn heading(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" ({})", printable(name))).unwrap_or_default();
        format!(
            "{}{name}: {} by {}, as of {:.0}",
            printable(&self.campaign),
            self.status,
            self.channel,
            self.as_of
        )
    }

    fn funnel(&self) -> String {
        let mut table = grid(&["funnel", "", "of targeted", ""], &[1, 2]);
        let unique = |engaged: Engaged| engaged.unique;
        for (name, n) in [
            ("targeted", Some(self.targeted)),
            ("sent", Some(self.sent)),
            ("delivered", self.delivered),
            ("opened", self.opens.map(unique)),
            ("clicked", Some(self.clicks.unique)),
        ] {
            let share = Ratio::of(n, self.targeted).value;
            table.add_row([name.to_owned(), number(n), percent(share), bar(share.unwrap_or(0.0))]);
        }
        table.trim_fmt()
    }

    fn exits(&self) -> String {
        let mut table = grid(&["state", "reason", "", "of targeted"], &[2, 3]);
        for (state, n) in self.states.iter().filter(|(_, n)| **n != 0) {
            let share = percent(Ratio::of(Some(*n), self.targeted).value);
            table.add_row([state.to_string(), String::new(), number(Some(*n)), share]);
            for row in self.reasons.iter().filter(|row| row.state == *state) {
                let share = percent(Ratio::of(Some(row.count), self.targeted).value);
                table.add_row([String::new(), row.reason.to_string(), number(Some(row.count)), share]);
            }
        }
        table.trim_fmt()
    }

    fn engagement(&self) -> String {
        let mut table = grid(&["", "unique", "total", "machine"], &[1, 2, 3]);
        for (name, engaged) in [("opens", self.opens), ("clicks", Some(self.clicks))] {
            let part = |of: fn(Engaged) -> i64| number(engaged.map(of));
            table.add_row([
                name.to_owned(),
                part(|of| of.unique),
                part(|of| of.total),
                part(|of| of.machine),
            ]);
        }
        for (name, n) in [
            ("unsubscribes", Some(self.unsubscribes)),
            ("complaints", self.complaints),
            ("segments", self.segments),
        ] {
            table.add_row([name.to_owned(), number(n)]);
        }
        table.trim_fmt()
    }

    fn rate_lines(&self) -> String {
        let mut table = grid(&["rate", "", "", "of", ""], &[1, 2, 3]);
        let base = self.base.to_string();
        let of =
            ["sent", &base, &base, "opened", &base, &base, "sent", "sent"].map(|name| format!("  {name}"));
        for ((name, rate), of) in self.rates.named().into_iter().zip(of) {
            let name = name.replace('_', " ");
            table.add_row([name, percent(rate.value), number(rate.numerator), number(rate.denominator), of]);
        }
        table.trim_fmt()
    }

    fn link_lines(&self) -> Option<String> {
        let mut table = grid(&["link", "clicks", "unique"], &[1, 2]);
        for link in &self.links {
            table.add_row([printable(&link.url), number(Some(link.clicks)), number(Some(link.unique))]);
        }
        (!self.links.is_empty()).then(|| table.trim_fmt())
    }

    fn hour_lines(&self) -> Option<String> {
        let mut table = grid(&["hour (UTC)", "sent", "opens", "clicks"], &[1, 2, 3]);
        let earlier = self.series.len().saturating_sub(HOURS);
        for hour in self.series.iter().skip(earlier) {
            let counts = [hour.sent, hour.opens, hour.clicks].map(|n| number(Some(n)));
            let [sent, opens, clicks] = counts;
            table.add_row([hour.hour.strftime("%Y-%m-%d %H:%M").to_string(), sent, opens, clicks]);
        }
        let mut text = table.trim_fmt();
        if earlier > 0 {
            text.push_str(&format!("\n {earlier} earlier hours: see --format json or csv"));
        }
        (!self.series.is_empty()).then_some(text)
    }
}

/// A table without lines; `right` names the columns of numbers.
fn grid(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Full for 1; what is more than nothing shows.
fn bar(share: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, then is clamped")]
    let full = (share * BAR as f64).round() as usize;
    let full = if share > 0.0 { full.clamp(1, BAR) } else { 0 };
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bars_show_what_is_more_than_nothing() {
        assert_eq!(bar(0.0), "░".repeat(BAR));
        assert_eq!(bar(0.000_1), format!("█{}", "░".repeat(BAR - 1)));
        assert_eq!(bar(1.0), "█".repeat(BAR));
    }

    proptest! {
        #[test]
        fn a_bar_is_always_as_wide(share in 0.0..2.0f64) {
            prop_assert_eq!(bar(share).chars().count(), BAR);
        }

        #[test]
        fn no_text_commands_the_terminal(text in any::<String>()) {
            prop_assert!(!printable(&text).contains(char::is_control));
        }
    }
}
