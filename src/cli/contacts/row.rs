//! From a row of a file to a contact: what the columns of a CSV file mean, and a CONTACT of NDJSON.

use serde_json::Value;

use crate::model::Channel;
use crate::model::contact::{Consent, Contact, ContactAddress, Problem};

/// What a file says of its columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header(Vec<Column>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    ExternalId,
    Address(Channel),
    Locale,
    Timezone,
    Tags,
    Attribute(String),
}

impl Column {
    fn named(name: &str) -> Column {
        match name.to_ascii_lowercase().as_str() {
            "external_id" => Column::ExternalId,
            "email" => Column::Address(Channel::Email),
            "phone" => Column::Address(Channel::Sms),
            "wechat" => Column::Address(Channel::Wechat),
            "push" => Column::Address(Channel::Push),
            "locale" => Column::Locale,
            "timezone" => Column::Timezone,
            "tags" => Column::Tags,
            _ => Column::Attribute(name.to_owned()),
        }
    }
}

impl Header {
    /// Reads the first record.
    ///
    /// # Errors
    /// What keeps the whole file from being read, and what to do about it.
    pub(super) fn read(fields: Vec<Vec<u8>>) -> Result<Header, String> {
        let mut columns = Vec::new();
        for (index, field) in fields.into_iter().enumerate() {
            let name = String::from_utf8(field)
                .map_err(|_| "the header is not UTF-8: save the file as UTF-8".to_owned())?;
            let name = name.trim();
            if name.is_empty() || name.contains('\0') {
                return Err(format!("column {} has no name in the header", index + 1));
            }
            let column = Column::named(name);
            if columns.contains(&column) {
                return Err(format!("the header names `{name}` twice"));
            }
            columns.push(column);
        }
        if !columns.contains(&Column::ExternalId) {
            return Err(
                "the header has no column `external_id`: the first line names the columns, with commas \
                        between them"
                    .to_owned(),
            );
        }
        Ok(Header(columns))
    }

    /// The contact of one record, canonical.
    ///
    /// # Errors
    /// Everything that is wrong with it, without its addresses.
    pub(super) fn contact(&self, fields: Vec<Vec<u8>>, consent: Option<Consent>) -> Result<Contact, String> {
        if fields.len() != self.0.len() {
            return Err(format!("has {} columns, the header {}", fields.len(), self.0.len()));
        }
        let mut contact = Contact::default();
        for (column, field) in self.0.iter().zip(fields) {
            let text = String::from_utf8(field).map_err(|_| "is not UTF-8".to_owned())?;
            if text.contains('\0') {
                return Err("has a NUL character, which no store keeps".to_owned());
            }
            put(&mut contact, column, text, consent);
        }
        canonical(contact)
    }
}

fn put(contact: &mut Contact, column: &Column, text: String, consent: Option<Consent>) {
    if text.trim().is_empty() {
        return;
    }
    match column {
        Column::ExternalId => contact.external_id = text,
        Column::Locale => contact.locale = Some(text.trim().to_owned()),
        Column::Timezone => contact.timezone = Some(text.trim().to_owned()),
        Column::Tags => {
            let tags = text.split(';').map(str::trim).filter(|tag| !tag.is_empty());
            contact.tags = Some(tags.map(str::to_owned).collect());
        }
        Column::Address(channel) => contact.addresses.get_or_insert_default().push(ContactAddress {
            channel: *channel,
            address: text,
            app: String::new(),
            consent,
        }),
        Column::Attribute(name) => drop(contact.attributes.insert(name.clone(), typed(text))),
    }
}

/// `true`, `false` and numbers of JSON's grammar as what they are, everything else as text: `00123` keeps its zeros,
/// and so does a number that would lose digits.
fn typed(text: String) -> Value {
    let plain =
        text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && !text.ends_with(char::is_whitespace);
    match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if plain => match serde_json::from_str::<Value>(&text) {
            Ok(Value::Number(number)) if !number.is_f64() || text.contains(['.', 'e', 'E']) => number.into(),
            _ => Value::String(text),
        },
        _ => Value::String(text),
    }
}

/// A CONTACT from a line of NDJSON, canonical. `consent` holds for addresses that say nothing of their own.
///
/// # Errors
/// Everything that is wrong with it, without its addresses.
pub(super) fn from_json(line: &[u8], consent: Option<Consent>) -> Result<Contact, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("is not JSON: {error}"))?;
    if !value.is_object() {
        return Err("a contact is a JSON object".to_owned());
    }
    if has_nul(&value) {
        return Err("has a NUL character, which no store keeps".to_owned());
    }
    let mut contact: Contact =
        serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string() {
            root if root == "." => error.into_inner().to_string(),
            path => format!("{path}: {}", error.into_inner()),
        })?;
    for address in contact.addresses.iter_mut().flatten() {
        address.consent = address.consent.or(consent);
    }
    canonical(contact)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, item)| name.contains('\0') || has_nul(item)),
        _ => false,
    }
}

fn canonical(mut contact: Contact) -> Result<Contact, String> {
    contact.canonicalize().map_err(|problems| {
        let words: Vec<String> = problems.iter().map(in_words).collect();
        words.join("; ")
    })?;
    Ok(contact)
}

/// Of an address the message alone: it names the channel, and a place in a list means nothing to a column.
fn in_words(problem: &Problem) -> String {
    match problem.path.trim_start_matches('.') {
        path if path.starts_with("addresses") => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields(line: &str) -> Vec<Vec<u8>> {
        line.split(',').map(|field| field.as_bytes().to_vec()).collect()
    }

    fn header(line: &str) -> Result<Header, String> {
        Header::read(fields(line))
    }

    #[test]
    fn known_columns_are_what_they_are_and_others_become_attributes() {
        let header =
            header("external_id, Email,phone,locale,timezone,tags,City,points,vip,member_no").unwrap();
        let row = fields("C-1, Anna@Example.com ,,de-DE,Europe/Berlin,a; b;,Köln,12,true,00123");
        let contact = header.contact(row, Some(Consent::Given)).unwrap();
        let expected = json!({
            "external_id": "C-1", "locale": "de-DE", "timezone": "Europe/Berlin", "tags": ["a", "b"],
            "attributes": {"City": "Köln", "points": 12, "vip": true, "member_no": "00123"},
            "addresses": [{"channel": "email", "address": "anna@example.com", "consent": true}],
        });
        assert_eq!(serde_json::to_value(contact).unwrap(), expected);
        let empty = header.contact(fields("C-2,,,,,,,,,"), None).unwrap();
        assert_eq!(empty, Contact { external_id: "C-2".into(), ..Contact::default() });
    }

    #[test]
    fn a_header_must_make_sense() {
        for (line, expected) in [
            ("email,phone", "no column `external_id`"),
            ("external_id;email", "no column `external_id`"),
            ("external_id,email,EMAIL", "`EMAIL` twice"),
            ("external_id,city,city", "`city` twice"),
            ("external_id,,city", "column 2 has no name"),
        ] {
            let problem = header(line).unwrap_err();
            assert!(problem.contains(expected), "{line}: {problem}");
        }
        assert!(header("external_id,City,city").is_ok());
    }

    #[test]
    fn numbers_keep_their_type_where_they_keep_their_digits() {
        for (text, value) in [
            ("0", json!(0)),
            ("-1.50", json!(-1.5)),
            ("1e3", json!(1000.0)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("12345678901234567890123", json!("12345678901234567890123")),
            ("00123", json!("00123")),
            ("+5", json!("+5")),
            ("1.", json!("1.")),
            ("5 ", json!("5 ")),
            ("1,5", json!("1,5")),
            ("True", json!("True")),
            ("null", json!("null")),
            ("[1]", json!("[1]")),
        ] {
            assert_eq!(typed(text.to_owned()), value, "{text}");
        }
    }

    #[test]
    fn a_line_of_ndjson_is_a_contact() {
        let line = br#"{"external_id": "a", "addresses": [{"channel": "email", "address": "A@B.de", "consent": false}, {"channel": "sms", "address": "+4915112345678"}]}"#;
        let contact = from_json(line, Some(Consent::Given)).unwrap();
        let consents: Vec<_> = contact.addresses.unwrap().iter().map(|address| address.consent).collect();
        assert_eq!(consents, [Some(Consent::Withdrawn), Some(Consent::Given)]);
        for (line, expected) in [
            ("{", "is not JSON"),
            ("[\"a\"]", "is a JSON object"),
            (r#"{"external_id": "a", "tags": [1]}"#, "tags[0]: "),
            (r#"{"external_id": "a", "mail": "x"}"#, "unknown field `mail`"),
            (r#"{"external_id": "a", "attributes": {"a": "\u0000"}}"#, "NUL"),
            (
                r#"{"external_id": "", "timezone": "Nowhere"}"#,
                "external_id: an id has 1 to 200 bytes; timezone: ",
            ),
        ] {
            let problem = from_json(line.as_bytes(), None).unwrap_err();
            assert!(problem.contains(expected), "{line}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn any_row_is_a_contact_or_told(row in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..6)) {
            let header = header("external_id,email,tags,city").unwrap();
            let width = row.len();
            match header.contact(row, None) {
                Ok(contact) => prop_assert!(width == 4 && !contact.external_id.is_empty()),
                Err(problem) => prop_assert!(!problem.is_empty()),
            }
        }

        #[test]
        fn text_is_never_lost(text in "[-+0-9.eE]{1,12}") {
            match typed(text.clone()) {
                Value::String(kept) => prop_assert_eq!(kept, text),
                number => prop_assert_eq!(number.as_f64(), text.parse().ok()),
            }
        }
    }
}
