//! Dashboards and alerts name metrics and labels that exist, explain themselves, and lead to a runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use campaignd::telemetry::Metrics;
use serde_json::Value;

/// What Prometheus adds to every series.
const ADDED_LABELS: [&str; 2] = ["job", "instance"];
/// What Prometheus itself says of each target.
const ADDED_METRIC: &str = "up";
/// Words of PromQL that are neither metrics nor labels.
#[rustfmt::skip]
const WORDS: [&str; 20] = [
    "abs", "and", "by", "changes", "clamp_min", "delta", "histogram_quantile", "increase", "label_values", "max", "min", "offset", "on", "or",
    "rate", "resets", "sum", "time", "unless", "vector",
];

#[test]
fn dashboards_name_metrics_and_labels_that_exist() {
    let mut wrong = Vec::new();
    for (name, dashboard) in dashboards() {
        let mut queries = Vec::new();
        texts(&dashboard, &["expr", "definition"], &mut queries);
        assert!(queries.len() > 10, "{name}: {} queries", queries.len());
        wrong.extend(queries.iter().flat_map(|query| unknown(query)).map(|word| format!("{name}: {word}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rules of Grafana's dashboard-linter, in short.
#[test]
fn every_panel_explains_itself_and_follows_its_variables() {
    let mut wrong = Vec::new();
    for (name, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap_or_default();
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            for (what, text) in
                [("title", &panel["title"]), ("description", &panel["description"]), ("unit", unit)]
            {
                if text.as_str().is_none_or(str::is_empty) {
                    wrong.push(format!("{name}: {title}: no {what}"));
                }
            }
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                let selectors = query.matches("campaignd_").count() + query.matches("process_").count();
                if query.matches(r#"job=~"$job", instance=~"$instance""#).count() < selectors {
                    wrong.push(format!("{name}: {title}: a selector without $job and $instance"));
                }
                if query.contains("rate(") && !query.contains("[$__rate_interval]") {
                    wrong.push(format!("{name}: {title}: a rate over another span than $__rate_interval"));
                }
                if target["datasource"]["uid"] != "${datasource}" {
                    wrong.push(format!("{name}: {title}: a data source of its own"));
                }
            }
        }
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "job", "instance"], "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn alerts_name_metrics_that_exist_and_lead_to_their_runbook() {
    let operations = read("docs/operations.md");
    let runbook = operations.split_once("\n## Runbook\n").unwrap().1;
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let (mut wrong, mut named) = (Vec::new(), BTreeSet::new());
    let file = read("dashboards/alerts.yml");
    for rule in file.split("      - alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        named.insert(name);
        let query = rule.split_once("expr:").unwrap().1.split("\n        labels:").next().unwrap();
        let query = query.split("\n        for:").next().unwrap().trim_start_matches([' ', '>', '-']);
        wrong.extend(unknown(query).map(|word| format!("{name}: {word}")));
        let link = format!("runbook_url: docs/operations.md#{}\n", name.to_lowercase());
        for needed in ["severity: ", "summary: ", "description: ", &link] {
            if !rule.contains(needed) {
                wrong.push(format!("{name}: no `{}`", needed.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(named, sections, "alerts and sections of the runbook");
}

#[test]
fn every_alert_is_tested() {
    let tests = read("dashboards/alerts_test.yml");
    for name in read("dashboards/alerts.yml").lines().filter_map(|line| line.strip_prefix("      - alert: "))
    {
        assert!(
            tests.contains(&format!("- {{labels: 'ALERTS{{alertname=\"{name}\"")),
            "{name} never fires in a test"
        );
    }
}

#[test]
fn words_of_a_query_are_told_apart() {
    let query = r#"sum by (channel, nosuch) (rate(campaignd_attempts_total{outcome!~"a|b", wrong="x"}[5m])) / campaignd_none > 0.5"#;
    assert_eq!(
        unknown(query).collect::<BTreeSet<_>>(),
        ["campaignd_none", "nosuch", "wrong"].map(String::from).into()
    );
}

/// The words of a query that are no metric of the catalogue, no label of a metric that it names, and no PromQL.
fn unknown(query: &str) -> impl Iterator<Item = String> {
    let catalogue = catalogue();
    let words = words(query);
    let labels: BTreeSet<&str> =
        words.iter().filter_map(|word| catalogue.get(word)).flatten().copied().chain(ADDED_LABELS).collect();
    let known = |word: &String| {
        catalogue.contains_key(word) || labels.contains(word.as_str()) || WORDS.contains(&word.as_str())
    };
    words.into_iter().filter(move |word| !known(word)).collect::<Vec<_>>().into_iter()
}

/// Identifiers outside of quotes and spans; variables of Grafana are none.
fn words(query: &str) -> BTreeSet<String> {
    let unquoted = query.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let without_spans: String =
        unquoted.split('[').map(|part| part.split_once(']').map_or(part, |it| it.1)).collect();
    let identifiers = without_spans.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$' | '.'));
    let starts = |word: &&str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    identifiers.filter(starts).map(str::to_owned).collect()
}

/// Every series that `/metrics` shows, with its labels.
fn catalogue() -> BTreeMap<String, Vec<&'static str>> {
    let mut series = BTreeMap::from([(ADDED_METRIC.to_owned(), Vec::new())]);
    for definition in Metrics::catalogue() {
        let labels = definition.labels.to_vec();
        if definition.kind == "histogram" {
            let with_edge = labels.iter().copied().chain(["le"]).collect();
            series.insert(format!("{}_bucket", definition.name), with_edge);
            series.insert(format!("{}_count", definition.name), labels.clone());
            series.insert(format!("{}_sum", definition.name), labels);
        } else {
            series.insert(definition.name.to_owned(), labels);
        }
    }
    series
}

/// The texts under these keys, however deep.
fn texts(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field.as_str() {
                    Some(text) if keys.contains(&key.as_str()) => found.push(text.to_owned()),
                    _ => texts(field, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, keys, found)),
        _ => {}
    }
}

fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(root().join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let dashboards: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    assert!(!dashboards.is_empty());
    dashboards
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
