//! Languages and channels.

use super::*;

#[test]
fn the_nearest_language_wins_key_by_key() {
    let toml =
        "[push]\ntitle = \"t\"\nbody = \"b\"\n[zh.push]\ntitle = \"zh\"\n[zh-TW.push]\nbody = \"tw\"\n";
    let template = Template::compile(source(&[("template.toml", toml)])).unwrap();
    for (locale, expected) in [
        (None, "t b"),
        (Some("fr"), "t b"),
        (Some("zh-CN"), "zh b"),
        (Some("ZH_cn"), "zh b"),
        (Some("zh-TW"), "zh tw"),
        (Some("zh-Hant-TW"), "zh b"),
    ] {
        let setting = Setting { locale, ..Setting::default() };
        let Content::Push(push) = setting.render(&template, Channel::Push).unwrap() else { panic!() };
        assert_eq!(format!("{} {}", push.title, push.body), expected, "{locale:?}");
    }
    assert_eq!(
        Setting::default().render(&template, Channel::Email),
        Err(RenderError::NoChannel(Channel::Email))
    );
}

#[test]
fn every_channel_renders_what_it_needs() {
    let toml = r##"
        [sms]
        aliyun = {sign_name = "Shop", template_code = "SMS_1", params = {name = "{{name}}"}}
        tencent = {sign_name = "Shop", template_id = "11", params = ["{{name}}", "1", "2", "3", "4", "5", "6", "7", "8", "9", "x"]}
        [wechat]
        template_id = "T"
        url = "https://shop.example/spring"
        data = {first = {value = "{{name}}"}, keyword1 = {value = "x", color = "#173177"}}
    "##;
    let template = Template::compile(source(&[("template.toml", toml)])).unwrap();
    assert_eq!(template.channels().collect::<Vec<_>>(), [Channel::Sms, Channel::Wechat]);
    let setting = Setting::job(json!({"name": "<小明>"}));
    let Content::Sms(sms) = setting.render(&template, Channel::Sms).unwrap() else { panic!() };
    assert_eq!(sms.text, None);
    assert_eq!(sms.aliyun.unwrap().params["name"], "<小明>");
    let tencent = sms.tencent.unwrap();
    assert_eq!((&*tencent.sign_name, &*tencent.template_id), ("Shop", "11"));
    assert_eq!(tencent.params.join(" "), "<小明> 1 2 3 4 5 6 7 8 9 x");
    let Content::Wechat(wechat) = setting.render(&template, Channel::Wechat).unwrap() else { panic!() };
    assert_eq!(wechat.data["first"].value, "<小明>");
    assert_eq!(wechat.data["keyword1"].color.as_deref(), Some("#173177"));
    assert!(template.fields(Channel::Sms).unwrap().contains("name"));
    assert!(!template.fields(Channel::Sms).unwrap().contains("first"));
    assert_eq!(template.fields(Channel::Push), None);
}
