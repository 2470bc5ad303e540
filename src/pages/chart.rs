//! Opens and clicks over time, as bars: which span each bar stands for, and how high it is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::minute;
use super::words::Words;
use crate::report::number;
use crate::store::reports::HourCount;

const HOUR: i64 = 3_600;
/// What one bar may stand for, in seconds; the first that fits is taken.
const WIDTHS: [i64; 6] = [HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 7 * 24 * HOUR];
/// Weeks begin on Monday; 1970 began on a Thursday.
const MONDAY: i64 = -3 * 24 * HOUR;
/// Bars of each kind, at most: what a phone still shows apart. What is longer loses its oldest bars.
const MOST: i64 = 72;
/// Few bars do not grow broad.
const LEAST: i64 = 12;
/// Height of the plot and width of a bar's place in it; the page stretches both.
const HEIGHT: i64 = 1_000;
const PLACE: i64 = 10;

#[derive(Debug)]
pub(super) struct Chart {
    /// Hours that one bar stands for.
    pub(super) hours: i64,
    pub(super) columns: Vec<Column>,
    /// Width of the plot.
    pub(super) width: i64,
    pub(super) height: i64,
    /// What the lines at full and at half height stand for.
    pub(super) top: String,
    pub(super) half: String,
    /// Starts of the first and the last bar.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) opens: bool,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) x: i64,
    pub(super) opens: Piece,
    pub(super) clicks: Piece,
    /// Read out and shown on hover.
    pub(super) title: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) width: i64,
    pub(super) height: i64,
}

/// `None` where nobody opened or clicked. Without `opens` the channel has no pixel.
pub(super) fn chart(series: &[HourCount], opens: bool, words: &Words) -> Option<Chart> {
    let (width, spans) = spans(series)?;
    let most = spans.values().map(|(opened, clicked)| *opened.max(clicked)).max().filter(|most| *most > 0)?;
    let top = round_up(most);
    let places = i64::try_from(spans.len()).unwrap_or(MOST).max(LEAST);
    let columns = spans.iter().zip(0..).map(|((start, (opened, clicked)), place)| {
        let x = place * PLACE;
        let (first, breadth) = if opens { (x + 5, 3) } else { (x + 2, 6) };
        let piece = |x, n: i64, width| {
            let height = (n * HEIGHT + top - 1) / top;
            Piece { x, y: HEIGHT - height, width, height }
        };
        let counts = match opens {
            true => format!("{} {}, ", number(Some(*opened)), words.opens),
            false => String::new(),
        };
        Column {
            x,
            opens: piece(x + 1, if opens { *opened } else { 0 }, 3),
            clicks: piece(first, *clicked, breadth),
            title: format!("{}: {counts}{} {}", label(*start), number(Some(*clicked)), words.clicks),
        }
    });
    let ends = [spans.keys().next(), spans.keys().next_back()];
    let [from, to] = ends.map(|end| end.map(|start| label(*start)).unwrap_or_default());
    Some(Chart {
        hours: width / HOUR,
        columns: columns.collect(),
        width: places * PLACE,
        height: HEIGHT,
        top: number(Some(top)),
        half: number(Some(top / 2)),
        from,
        to,
        opens,
    })
}

/// Opens and clicks by the start of their span, in seconds.
type Spans = BTreeMap<i64, (i64, i64)>;

/// The spans without gaps, and how many seconds each is long.
fn spans(series: &[HourCount]) -> Option<(i64, Spans)> {
    let hours = || series.iter().map(|row| row.hour.as_second());
    let (first, last) = (hours().min()?, hours().max()?);
    let count = |width| (start(last, width) - start(first, width)) / width + 1;
    let width = *WIDTHS.iter().find(|width| count(**width) <= MOST).or(WIDTHS.last())?;
    let (last, bars) = (start(last, width), count(width).min(MOST));
    let mut spans: Spans = (0..bars).map(|back| (last - back * width, (0, 0))).collect();
    for row in series {
        if let Some((opens, clicks)) = spans.get_mut(&start(row.hour.as_second(), width)) {
            *opens += row.opens;
            *clicks += row.clicks;
        }
    }
    Some((width, spans))
}

/// The start of the span that an instant lies in.
fn start(at: i64, width: i64) -> i64 {
    at - (at - MONDAY).rem_euclid(width)
}

/// The next number that is easily read and halved: 2, 4, 6, 8, 10, 20, 40, ...
fn round_up(n: i64) -> i64 {
    let mut unit = 2;
    while unit * 5 < n {
        unit *= 10;
    }
    (n.max(1) + unit - 1) / unit * unit
}

fn label(second: i64) -> String {
    Timestamp::from_second(second).map(minute).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::Language;

    fn words() -> &'static Words {
        Words::of(Language::English)
    }

    fn hour(n: i64, opens: i64, clicks: i64) -> HourCount {
        HourCount { hour: Timestamp::from_second(n * HOUR).unwrap(), sent: 1, opens, clicks }
    }

    #[test]
    fn quiet_hours_keep_their_place() {
        let chart = chart(&[hour(0, 5, 1), hour(3, 10, 0)], true, words()).unwrap();
        assert_eq!((chart.hours, chart.columns.len()), (1, 4));
        assert_eq!((chart.top.as_str(), chart.half.as_str()), ("10", "5"));
        assert_eq!(chart.columns[0].title, "1970-01-01 00:00: 5 opens, 1 clicks");
        assert_eq!(chart.columns[0].opens, Piece { x: 1, y: 500, width: 3, height: 500 });
        assert_eq!(chart.columns[1].opens.height, 0);
        assert_eq!(chart.to, "1970-01-01 03:00");
    }

    #[test]
    fn a_channel_without_a_pixel_has_clicks_alone() {
        let chart = chart(&[hour(0, 0, 3)], false, words()).unwrap();
        assert_eq!(chart.columns[0].title, "1970-01-01 00:00: 3 clicks");
        assert_eq!(chart.columns[0].clicks, Piece { x: 2, y: 250, width: 6, height: 750 });
    }

    #[test]
    fn nothing_makes_no_chart() {
        assert!(chart(&[], true, words()).is_none());
        assert!(chart(&[hour(0, 0, 0)], true, words()).is_none());
    }

    #[test]
    fn weeks_begin_on_monday() {
        let monday: Timestamp = "2026-04-06T00:00:00Z".parse().unwrap();
        let sunday: Timestamp = "2026-04-12T23:00:00Z".parse().unwrap();
        assert_eq!(start(sunday.as_second(), 7 * 24 * HOUR), monday.as_second());
    }

    proptest! {
        #[test]
        fn bars_fit_and_lose_nothing_that_is_recent(
            hours in proptest::collection::btree_map(400_000..430_000i64, (0..2_000i64, 0..2_000i64), 1..60),
        ) {
            let series: Vec<_> = hours.iter().map(|(at, (opens, clicks))| hour(*at, *opens, *clicks)).collect();
            let (width, spans) = spans(&series).unwrap();
            prop_assert!(spans.len() <= 72);
            let first = *spans.keys().next().unwrap();
            let recent = series.iter().filter(|row| row.hour.as_second() >= first);
            prop_assert_eq!(spans.values().map(|span| span.0).sum::<i64>(), recent.map(|row| row.opens).sum::<i64>());
            prop_assert!(spans.len() == 72 || width == *WIDTHS.last().unwrap() || first <= series[0].hour.as_second());
            if let Some(chart) = chart(&series, true, words()) {
                for column in &chart.columns {
                    prop_assert!(column.x + PLACE <= chart.width);
                    for piece in [column.opens, column.clicks] {
                        prop_assert!(piece.y >= 0 && piece.y + piece.height == HEIGHT);
                    }
                }
            }
        }

        #[test]
        fn the_top_is_near_and_even(n in 1..1_000_000_000i64) {
            let top = round_up(n);
            prop_assert!(top >= n && top % 2 == 0 && (top <= 2 || top <= 2 * n));
        }
    }
}
