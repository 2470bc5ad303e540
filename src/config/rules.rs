//! `rules` of `[channels.sms]`: what its messages are held to. `rules = "china"`, or a table of single rules.

use jiff::tz::TimeZone;

use super::grammar;
use super::reader::Table;
use crate::model::SmsRules;
use crate::model::sms_rules::Hours;

type Preset = fn() -> SmsRules;

/// By their names.
const PRESETS: &[(&str, Preset)] = &[("china", SmsRules::china)];

/// The rules in a channel's table; without a word of them, none.
pub(super) fn rules(channel: &mut Table<'_>) -> SmsRules {
    let preset = |preset: Option<Preset>| preset.map(|preset| preset()).unwrap_or_default();
    if !channel.holds_table("rules") {
        return preset(channel.word("rules", PRESETS));
    }
    let mut table = channel.table("rules");
    let mut rules = preset(table.word("preset", PRESETS));
    rules.text.signature = table.flag("signature").unwrap_or(rules.text.signature);
    if let Some(opt_out) = table.list("opt_out", grammar::line) {
        rules.text = rules.text.with_opt_out(opt_out);
    }
    let zone = table.text("time_zone", time_zone);
    if table.is_off("hours") {
        rules.hours = None;
    } else if let Some(hours) =
        table.text("hours", |text| Hours::new(text, zone.clone().unwrap_or_else(Hours::china)))
    {
        rules.hours = Some(hours);
    } else if zone.is_some() {
        table.problem("time_zone", "does nothing without `hours` beside it");
    }
    table.finish();
    rules
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("`{name}` is no time zone that this machine knows, as `Asia/Shanghai` or `UTC`"))
}
