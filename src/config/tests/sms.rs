//! What is configured for text messages: rules, the meaning of codes, asking for receipts.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::model::SmsRules;
use crate::model::sms_rules::{Hours, TextRules};

const ALIYUN: &str =
    "[providers.ali]\nkind = \"aliyun\"\naccess_key_id = \"id\"\naccess_key_secret = \"secret\"\n";

fn rules(lines: &str) -> SmsRules {
    parse(&format!("{LEAST}[channels.sms]\n{lines}")).channels[&Channel::Sms].rules.clone()
}

#[test]
fn rules_are_off_or_chinas_or_ones_own() {
    assert_eq!(rules(""), SmsRules::default());
    assert_eq!(rules("rules = \"china\"\n"), SmsRules::china());
    let own = rules(
        "[channels.sms.rules]\nopt_out = [\"Reply STOP\"]\nhours = \"09:00-20:00\"\ntime_zone = \"UTC\"\n",
    );
    let hours = Hours::new("09:00-20:00", TimeZone::UTC).unwrap();
    assert_eq!(own, SmsRules { text: TextRules::new(false, ["reply stop"]), hours: Some(hours) });
    let mild = rules("[channels.sms.rules]\npreset = \"china\"\nhours = \"off\"\nopt_out = []\n");
    assert_eq!(mild, SmsRules { text: TextRules::new(true, [""; 0]), hours: None });
    let later = rules("[channels.sms.rules]\npreset = \"china\"\nhours = \"10:00-21:00\"\n");
    let hours = Hours::new("10:00-21:00", Hours::china()).unwrap();
    assert_eq!(later, SmsRules { hours: Some(hours), ..SmsRules::china() });
}

#[test]
fn wrong_rules_are_found_with_their_lines() {
    let found = problems(&format!(
        "{LEAST}[channels.email]\nrules = \"china\"\n[channels.sms.rules]\npreset = \"chian\"\nsignature = 1\n\
         hours = \"8-22\"\ntime_zone = \"Asia/Shanghia\"\noptout = []\n"
    ));
    assert_eq!(
        found,
        "config.toml:4: channels.email.rules: belongs to `channels.sms` alone
config.toml:6: channels.sms.rules.preset: `chian` is none of china; did you mean `china`?
config.toml:7: channels.sms.rules.signature: must be true or false, not a number
config.toml:8: channels.sms.rules.hours: `8-22` is not hours of a day, as `08:00-22:00`
config.toml:9: channels.sms.rules.time_zone: `Asia/Shanghia` is no time zone that this machine knows, as `Asia/Shanghai` or `UTC`
config.toml:10: channels.sms.rules.optout: unknown key; did you mean `opt_out`?"
    );
    let idle = problems(&format!("{LEAST}[channels.sms.rules]\ntime_zone = \"UTC\"\n"));
    assert!(idle.contains("rules.time_zone: does nothing without `hours` beside it"), "{idle}");
}

#[test]
fn codes_mean_what_the_file_says() {
    let config = parse(&format!(
        "{LEAST}{ALIYUN}ask_after = \"10m\"\n[providers.ali.codes]\n\"MK:0001\" = \"soft_bounce\"\n\
         \"isv.NEW\" = \"template\"\n"
    ));
    let ProviderKind::Aliyun(settings) = &config.providers["ali"].kind else { panic!() };
    assert_eq!(settings.ask_after, Some(Duration::from_secs(600)));
    let codes = ["mk:0001", "isv.NEW", "MK:0002"].map(|code| settings.codes.get(code));
    assert_eq!(codes, [Some(CodeClass::SoftBounce), Some(CodeClass::Template), None]);
    let found = problems(&format!(
        "{LEAST}{ALIYUN}[providers.ali.codes]\n\"MK:0001\" = \"hard_bonce\"\n\"MK:0002\" = 2\n"
    ));
    assert_eq!(
        found,
        "config.toml:8: providers.ali.codes.MK:0001: `hard_bonce` is none of hard_bounce, soft_bounce, opted_out, \
         blocked, content, template, account, throttled, later, retry, unknown; did you mean `hard_bounce`?
config.toml:9: providers.ali.codes.MK:0002: must be text in quotes, not a number"
    );
}
