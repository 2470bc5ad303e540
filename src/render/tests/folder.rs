//! Folders of templates, and those that ship.

use std::fs;
use std::path::Path;

use super::*;

fn write(dir: &Path, path: &str, content: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn load_problems(dir: &Path) -> Vec<String> {
    Registry::load(dir).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_folder_of_templates_loads_and_travels_as_its_source() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a/template.toml", "[email]\nsubject = \"s\"\nhtml = \"sub/e.hbs\"\n");
    write(dir.path(), "a/sub/e.hbs", "<p>{{x}}</p>");
    write(dir.path(), "b/template.toml", "[push]\ntitle = \"t\"\nbody = \"b\"\n");
    write(dir.path(), ".git/config", "x");
    write(dir.path(), "README.md", "x");
    let registry = Registry::load(dir.path()).unwrap();
    assert_eq!(registry.names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(registry.get("c").is_none());
    let template = registry.get("a").unwrap();
    let json = serde_json::to_string(template.source()).unwrap();
    let copy: TemplateSource = serde_json::from_str(&json).unwrap();
    assert_eq!(copy.hash(), template.source().hash());
    assert_eq!(Template::compile(copy).unwrap().name(), "a");
    let mut other = template.source().clone();
    other.files.insert("sub/e.hbs".into(), "<p>{{y}}</p>".into());
    assert_ne!(other.hash(), template.source().hash());
}

#[test]
fn all_problems_come_at_once_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "a/template.toml",
        "[email]\nsubject = \"{{uper x}}\"\nhtml = \"e.hbs\"\n[zh.email]\ntext = \"e.hbs\"\n",
    );
    write(dir.path(), "a/e.hbs", "<p>\n{{#if x}}\n</p>");
    write(dir.path(), "b/template.toml", "[sms]\ntxt = \"x\"\n");
    write(dir.path(), "c/x", "x");
    write(dir.path(), "d/template.toml", "[email]\nhtml = \"none.hbs\"\n");
    let problems = load_problems(dir.path());
    for expected in [
        "a/template.toml:2: there is no helper `uper`; did you mean `upper`?",
        "a/e.hbs:2: `{{#if}}` is never closed",
        "b/template.toml:2: `txt` is not a key of this section; did you mean `text`?",
        "c/template.toml: is not there",
        "d/template.toml:2: `none.hbs` is not there",
    ] {
        assert_eq!(
            problems.iter().filter(|p| p.starts_with(expected)).count(),
            1,
            "{expected}: {problems:#?}"
        );
    }
    assert!(load_problems(&dir.path().join("nowhere"))[0].contains("[templates] dir"));
}

#[cfg(unix)]
#[test]
fn no_file_outside_of_the_folder_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", "x");
    for (name, file) in [("up", "../secret"), ("root", "/etc/hostname"), ("link", "link.hbs")] {
        write(
            dir.path(),
            &format!("{name}/template.toml"),
            &format!("[email]\nsubject = \"s\"\ntext = \"{file}\"\n"),
        );
    }
    std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("link/link.hbs")).unwrap();
    let problems = load_problems(dir.path());
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[0].contains("leads out of"));
    assert!(problems[1].contains("outside of") && problems[2].contains("outside of"));
}

#[test]
fn the_shipped_templates_render_for_anyone() {
    let registry = Registry::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/templates"))).unwrap();
    assert_eq!(
        registry.names().collect::<Vec<_>>(),
        ["birthday", "member-points", "order-thanks", "spring-sale"]
    );
    let full = json!({
        "discount": "20 %", "ends_at": "2026-04-05T15:59:59Z", "currency": "EUR",
        "products": [{"title": "Rose & <Dorn>", "price": 12.5, "old_price": 20, "url": "https://shop.example/p/1?a=b&c"}, {"title": "Efeu"}],
        "order_id": "A/9981", "ordered_at": "2026-03-01T10:00:00Z", "delivery_on": "2026-03-04", "total": 25,
        "lines": [{"title": "Rose", "quantity": 2, "price": 12.5}, {"title": "Efeu"}], "gift": "seeds", "code": "abc", "valid_until": "2026-12-31"
    });
    for name in ["王小明", "مُحَمَّد بن سلمان", "👩‍👩‍👧‍👦 Zoë", "<b>O'Brien & \"Söhne\"</b>", ""]
    {
        for (job, locale) in
            [(&full, Some("zh-CN")), (&full, Some("en-US")), (&full, Some("de")), (&json!({}), None)]
        {
            for template in registry.names().filter_map(|name| registry.get(name)) {
                let attributes = if name.is_empty() {
                    json!({})
                } else {
                    json!({"name": name, "city": "上海", "tier": "Gold"})
                };
                let setting = Setting { locale, attributes, ..Setting::tracked(job.clone()) };
                for channel in template.channels() {
                    let content = setting.render(&template, channel).unwrap();
                    if let Content::Email(email) = content {
                        check_email(&email, template.name(), name);
                    }
                }
            }
        }
    }
}

fn check_email(email: &EmailContent, template: &str, name: &str) {
    let html = email.html.as_deref().unwrap();
    assert!(!html.contains("{{") && !email.text.contains("{{"));
    assert!(!html.contains(super::super::mark::LEAD) && !email.text.contains(super::super::mark::LEAD));
    assert!(email.text.contains(name) && !email.text.contains("<td"));
    assert_eq!(html.matches("/o/").count(), 1);
    assert_eq!(html.contains("/u/"), template != "order-thanks", "{template}");
    assert!(!html.contains("<b>O'Brien"));
}
