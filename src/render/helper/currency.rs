//! Amounts of money: the number as the locale writes it, and the currency's sign where the language puts it.
//!
//! Signs, places and fraction digits are the common part of CLDR and ISO 4217; an unlisted currency shows its code.

use icu_decimal::input::{Decimal, SignDisplay};
use icu_locale_core::Locale;
use serde_json::Value;

use super::number::{MAX_DIGITS, decimal, format};
use super::{Call, Refusal, wrong};

/// A space that no line breaks at, as CLDR puts it between amount and sign.
const NO_BREAK: char = '\u{a0}';

/// Sign at home (where this language or region is the recipient's), sign elsewhere.
const SIGNS: &[(&str, &str, &str, &str)] = &[
    ("CNY", "zh", "¥", "CN¥"),
    ("USD", "US", "$", "US$"),
    ("EUR", "", "€", "€"),
    ("GBP", "", "£", "£"),
    ("JPY", "ja", "￥", "¥"),
    ("KRW", "", "₩", "₩"),
    ("INR", "", "₹", "₹"),
    ("HKD", "HK", "HK$", "HK$"),
    ("TWD", "TW", "$", "NT$"),
    ("AUD", "AU", "$", "A$"),
    ("CAD", "CA", "$", "CA$"),
    ("NZD", "NZ", "$", "NZ$"),
    ("MXN", "MX", "$", "MX$"),
    ("BRL", "", "R$", "R$"),
    ("VND", "", "₫", "₫"),
    ("ILS", "", "₪", "₪"),
    ("PHP", "", "₱", "₱"),
    ("PLN", "pl", "zł", "PLN"),
    ("RUB", "ru", "₽", "RUB"),
    ("UAH", "uk", "₴", "UAH"),
    ("TRY", "tr", "₺", "TRY"),
];

/// Languages that write the sign behind the amount, after a space.
const BEHIND: &[&str] = &[
    "be", "bg", "bs", "ca", "cs", "da", "de", "el", "es", "et", "fi", "fr", "gl", "hr", "hu", "hy", "is",
    "it", "ka", "kk", "lt", "lv", "mk", "nb", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr", "sv",
    "uk", "uz", "vi",
];

/// `{{currency total "EUR"}}`: an amount in whole units; `digits` overrides the currency's fraction digits.
pub(super) fn currency(call: &Call<'_>) -> Result<Value, Refusal> {
    let digits = call.option_count("digits", MAX_DIGITS)?;
    let code = call.param(1).text()?;
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("the currency is a code of three capital letters, as EUR"));
    }
    let digits = digits.unwrap_or_else(|| fraction_digits(&code));
    let Some(amount) = decimal(call.param(0), Some(digits))? else { return Ok(Value::Null) };
    let (minus, amount) = split_sign(amount);
    let number = format(call, &amount)?;
    Ok(place(&call.locale(), minus, sign(&code, &call.locale()), &number).into())
}

/// The minus stands before the sign, so the number is formatted without it.
fn split_sign(mut amount: Decimal) -> (&'static str, Decimal) {
    let minus = if amount.to_string().starts_with('-') { "-" } else { "" };
    amount.apply_sign_display(SignDisplay::Never);
    (minus, amount)
}

fn sign<'a>(code: &'a str, locale: &Locale) -> &'a str {
    let Some((_, home, here, elsewhere)) = SIGNS.iter().find(|row| row.0 == code) else { return code };
    let language = locale.id.language;
    let region = locale.id.region.as_ref().map(|region| region.as_str());
    // Someone who speaks English from nowhere in particular reads `$` as the American one.
    let at_home = language.as_str() == *home
        || region == Some(*home)
        || (code == "USD" && language.as_str() == "en" && region.is_none());
    if at_home { here } else { elsewhere }
}

fn place(locale: &Locale, minus: &str, sign: &str, number: &str) -> String {
    let language = locale.id.language;
    let brazil = locale.id.region.is_some_and(|region| region.as_str() == "BR");
    if BEHIND.contains(&language.as_str()) && !brazil {
        return format!("{minus}{number}{NO_BREAK}{sign}");
    }
    let letters = sign.chars().all(|c| c.is_ascii_alphabetic());
    if letters || brazil || language.as_str() == "nl" {
        return format!("{minus}{sign}{NO_BREAK}{number}");
    }
    format!("{minus}{sign}{number}")
}

/// ISO 4217's minor units where they are not 2.
fn fraction_digits(code: &str) -> i16 {
    match code {
        "JPY" | "KRW" | "VND" | "CLP" | "ISK" | "PYG" | "UGX" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::eval;
    use serde_json::json;

    #[test]
    fn amounts_follow_currency_and_locale() {
        let data = json!({"n": 1234.5, "minus": -9.99, "text": "20", "zero": -0.001});
        for (expression, locale, answer) in [
            ("currency n \"CNY\"", "zh-CN", "¥1,234.50"),
            ("currency n \"CNY\"", "en-US", "CN¥1,234.50"),
            ("currency n \"USD\"", "en", "$1,234.50"),
            ("currency n \"USD\"", "en-GB", "US$1,234.50"),
            ("currency n \"EUR\"", "de-DE", "1.234,50\u{a0}€"),
            ("currency n \"EUR\"", "nl", "€\u{a0}1.234,50"),
            ("currency n \"BRL\"", "pt-BR", "R$\u{a0}1.234,50"),
            ("currency n \"JPY\"", "ja", "￥1,234"),
            ("currency n \"CHF\"", "en", "CHF\u{a0}1,234.50"),
            ("currency n \"KWD\"", "en", "KWD\u{a0}1,234.500"),
            ("currency minus \"USD\"", "en-US", "-$9.99"),
            ("currency zero \"USD\"", "en-US", "$0.00"),
            ("currency text \"EUR\" digits=0", "en", "€20"),
        ] {
            assert_eq!(
                eval(expression, data.clone(), locale, "UTC").unwrap(),
                answer,
                "{expression} {locale}"
            );
        }
        let error = eval("currency n \"euro\"", data, "en", "UTC").unwrap_err();
        assert!(error.contains("three capital letters"), "{error}");
    }
}
