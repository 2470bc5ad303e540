//! Hostile templates and hostile data.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn values_never_break_out_of_html(value in any::<String>()) {
        let rendered = Setting::tracked(json!({"v": value})).html("<p title=\"{{v}}\">{{v}}</p>");
        let inside = rendered.strip_prefix("<p title=\"").unwrap();
        let (attribute, rest) = inside.split_once("\">").unwrap();
        let body = rest.split_once("</p>").map(|(body, _)| body).unwrap_or_default();
        for escaped in [attribute, body] {
            prop_assert!(!escaped.contains(['<', '>', '"', '\'', '`', '=']), "{}", escaped);
        }
    }

    #[test]
    fn data_gives_no_orders_to_the_writer(value in "[\u{0}\u{1}lepw;0-9a]{0,30}") {
        let setting = Setting::tracked(json!({"v": value.clone()}));
        let clean: String = value.chars().filter(|c| !c.is_control()).collect();
        prop_assert_eq!(setting.sms("<{{v}}|{{{v}}}|{{upper v}}>").unwrap(), format!("<{clean}|{clean}|{}>", clean.to_uppercase()));
    }

    #[test]
    fn any_template_compiles_or_is_refused(text in r#"([a-c ~"'=().@/\[\]|{}\\\n-]|\{\{|\}\}|\{\{#if |\{\{/if\}\}|\{\{else|\{\{#each |\{\{\^|as \|a\||this|\.\./|https://x|<a href="|<p>){0,25}"#) {
        let toml = "[email]\nsubject = \"s\"\ntext = \"t\"\n";
        for source in [source(&[("template.toml", toml), ("t", &text)]), html_source(&text)] {
            if let Err(problems) = Template::compile(source) {
                prop_assert!(!problems.is_empty());
            }
        }
    }

    #[test]
    fn whatever_compiles_renders_or_says_why_not(text in r#"(a|\{\{a\}\}|\{\{#if b\}\}|\{\{#each c\}\}|\{\{#with a\}\}|\{\{/if\}\}|\{\{/each\}\}|\{\{/with\}\}|\{\{else\}\}|<a href="|"></a>|https://x/){0,14}"#) {
        if let Ok(template) = Template::compile(html_source(&text)) {
            let setting = Setting::tracked(json!({"a": {"d": 1}, "b": true, "c": [1, 2]}));
            if let Err(error) = setting.render(&template, Channel::Email) {
                prop_assert!(error.to_string().contains("e.hbs"), "{}", error);
            }
        }
    }
}

#[test]
fn hostile_templates_are_refused_when_they_load() {
    for (html, reason) in [
        ("{{#*inline \"x\"}}{{> x}}{{/inline}}{{> x}}".to_owned(), "partials"),
        ("{{> e}}".to_owned(), "partials"),
        ("{{#if a}}".repeat(5_000), "5000 tags; at most"),
        ("{{x}}".repeat(10_000), "10000 tags; at most"),
        (format!("{}{}", "{{#if a}}".repeat(40), "{{/if}}".repeat(40)), "nest deeper than 32"),
        (format!("{{{{x {}1{}}}}}", "[".repeat(9_000), "]".repeat(9_000)), "brackets"),
        ("x".repeat(300_000), "at most 262144"),
        ("{{{bio}}}".to_owned(), "two braces"),
    ] {
        let problems = problems(html_source(&html));
        assert!(problems.contains(reason), "{reason}: {problems}");
    }
}

#[test]
fn the_deepest_allowed_template_renders_on_a_small_stack() {
    let nested = format!("{}x{}", "{{#if a}}".repeat(32), "{{/if}}".repeat(32));
    let chain = format!("{{{{#if b}}}}{}x{{{{/if}}}}", "{{else if a}}".repeat(31));
    let brackets = format!("{{{{not {}a{}}}}}", "(not ".repeat(32), ")".repeat(32));
    for text in [nested, chain, brackets] {
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        let rendered = thread
            .spawn(move || Setting::job(json!({"a": true, "b": false})).sms(&text).map(|text| text.len()))
            .unwrap()
            .join();
        assert!(rendered.unwrap().is_ok());
    }
}

#[test]
fn loops_are_stopped_even_where_they_write_nothing() {
    let list: Vec<u32> = (0..1_000).collect();
    let setting = Setting::job(json!({"l": list}));
    let error =
        setting.sms("{{#each l}}{{#each ../l}}{{#each ../../l}}{{/each}}{{/each}}{{/each}}").unwrap_err();
    assert!(matches!(error, RenderError::TooMuchWork { .. }), "{error}");
    let wide = format!("{{{{#each l}}}}{}{{{{/each}}}}", "{{#if @first}}{{/if}}".repeat(400));
    assert!(matches!(setting.sms(&wide), Err(RenderError::TooMuchWork { .. })));
    assert_eq!(setting.sms("{{#each l}}{{#if @last}}{{this}}{{/if}}{{/each}}").unwrap(), "999");
    let big = Setting::job(json!({"l": list, "s": "x".repeat(10_000)}));
    let error = big.sms("{{#each l}}{{@root.s}}{{/each}}").unwrap_err();
    assert!(matches!(error, RenderError::TooLarge { .. }), "{error}");
}

#[test]
fn errors_never_show_data() {
    let setting = Setting::job(json!({"d": "secret@example.com", "l": ["secret@example.com"]}));
    for text in ["{{date d}}", "{{number d}}", "{{upper l}}", "{{l.x}}", "{{currency d \"EUR\"}}"] {
        if let Err(error) = setting.sms(text) {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
