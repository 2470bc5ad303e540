//! A report as one CSV in long form: a line a number, so that every analyst's tool loads it and pivots as it likes.
//!
//! Columns: `section`, `name`, `detail`, `value`, `numerator`, `denominator`. An empty value is one that the channel
//! cannot observe. UTF-8, `\n` at the end of each line, quoted by RFC 4180. No cell begins a spreadsheet's formula.

use std::borrow::Cow;

use super::Report;
use crate::store::reports::Engaged;

const HEADER: &str = "section,name,detail,value,numerator,denominator\n";

impl Report {
    /// All of the report as CSV text.
    pub fn csv(&self) -> String {
        let mut csv = Csv(HEADER.to_owned());
        self.campaign_lines(&mut csv);
        self.count_lines(&mut csv);
        for (name, rate) in self.rates.named() {
            let value = rate.value.map(|value| value.to_string()).unwrap_or_default();
            csv.line("rate", [name, "", &value, &shown(rate.numerator), &shown(rate.denominator)]);
        }
        for link in &self.links {
            csv.number("link", &link.url, "clicks", Some(link.clicks));
            csv.number("link", &link.url, "unique", Some(link.unique));
        }
        for hour in &self.series {
            let at = hour.hour.to_string();
            csv.number("series", &at, "sent", Some(hour.sent));
            csv.number("series", &at, "opens", Some(hour.opens));
            csv.number("series", &at, "clicks", Some(hour.clicks));
        }
        csv.0
    }

    fn campaign_lines(&self, csv: &mut Csv) {
        let facts = [
            ("id", self.campaign.clone()),
            ("name", self.name.clone().unwrap_or_default()),
            ("status", self.status.to_string()),
            ("channel", self.channel.to_string()),
            ("as_of", self.as_of.to_string()),
            ("base", self.base.to_string()),
        ];
        for (name, value) in &facts {
            csv.line("campaign", [name, "", value, "", ""]);
        }
    }

    fn count_lines(&self, csv: &mut Csv) {
        csv.number("count", "targeted", "", Some(self.targeted));
        csv.number("count", "sent", "", Some(self.sent));
        csv.number("count", "delivered", "", self.delivered);
        for (name, engaged) in [("opens", self.opens), ("clicks", Some(self.clicks))] {
            let part = |of: fn(Engaged) -> i64| engaged.map(of);
            csv.number("count", name, "unique", part(|engaged| engaged.unique));
            csv.number("count", name, "total", part(|engaged| engaged.total));
            csv.number("count", name, "machine", part(|engaged| engaged.machine));
        }
        csv.number("count", "unsubscribes", "", Some(self.unsubscribes));
        csv.number("count", "complaints", "", self.complaints);
        csv.number("count", "segments", "", self.segments);
        for (state, n) in &self.states {
            csv.number("state", state.as_str(), "", Some(*n));
        }
        for row in &self.reasons {
            csv.number("reason", row.state.as_str(), row.reason.as_str(), Some(row.count));
        }
    }
}

struct Csv(String);

impl Csv {
    fn number(&mut self, section: &str, name: &str, detail: &str, n: Option<i64>) {
        self.line(section, [name, detail, &shown(n), "", ""]);
    }

    fn line(&mut self, section: &str, cells: [&str; 5]) {
        self.0.push_str(section);
        for text in cells {
            self.0.push(',');
            self.0.push_str(&cell(text));
        }
        self.0.push('\n');
    }
}

fn shown(n: Option<i64>) -> String {
    n.map(|n| n.to_string()).unwrap_or_default()
}

/// A cell that spreadsheets take as text (OWASP, "CSV Injection"), quoted where it must be.
fn cell(text: &str) -> Cow<'_, str> {
    let formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
        || text.starts_with(['\t', '\r', '\n']);
    let text = if formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
    if text.contains([',', '"', '\n', '\r']) {
        return Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Vec<String> {
        let mut reader =
            ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        record.iter().map(str::to_owned).collect()
    }

    #[test]
    fn no_cell_begins_a_formula() {
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "＝1"] {
            let mut csv = Csv(String::new());
            csv.number("link", bad, "", Some(1));
            assert_eq!(read(&csv.0)[1], format!("'{bad}"));
        }
        assert_eq!(cell("https://shop.example/?a=1-2"), "https://shop.example/?a=1-2");
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(name in "[^=+@＝＋－＠\\-\\s].{0,20}", detail in "(|[a-z,\"\n\r]{0,9}x)") {
            prop_assume!(!detail.starts_with(['\n', '\r']));
            let mut csv = Csv(String::new());
            csv.number("link", &name, &detail, None);
            prop_assert_eq!(read(&csv.0), ["link", &name, &detail, "", "", ""]);
        }
    }
}
