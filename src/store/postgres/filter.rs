//! FILTER to parameterised SQL over the alias `c` of `contacts`. No value of a caller's becomes SQL text.

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::{Json, ToSql};

use crate::model::filter::{Engaged, Filter, LastEvent, Order, Span, Test};

pub(super) type Parameter = Box<dyn ToSql + Sync + Send>;

/// Collects parameters while the SQL text grows.
pub(super) struct Compiler {
    pub(super) parameters: Vec<Parameter>,
    /// The instant at which planning started: what spans count back from.
    instant: Timestamp,
}

impl Compiler {
    /// `parameters` are those that the statement around the filter has already.
    pub(super) fn new(parameters: Vec<Parameter>, instant: Timestamp) -> Self {
        Compiler { parameters, instant }
    }

    fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.parameters.push(Box::new(value));
        format!("${}", self.parameters.len())
    }

    /// A condition that is true or false, never null, so that `not` is plain negation.
    pub(super) fn condition(&mut self, filter: &Filter) -> String {
        match filter {
            Filter::All(parts) => self.joined(parts, " AND ", "true"),
            Filter::Any(parts) => self.joined(parts, " OR ", "false"),
            Filter::Not(part) => format!("NOT {}", self.condition(part)),
            Filter::Tag(tag) => format!("({} = ANY(c.tags))", self.bind(tag.clone())),
            Filter::Attribute { name, test } => self.attribute(name, test),
            Filter::Opened(engaged) => self.engaged(engaged, "open"),
            Filter::Clicked(engaged) => self.engaged(engaged, "click"),
            Filter::LastEvent(when) => {
                let (operator, at) = match when {
                    LastEvent::Before(at) => ("<", at),
                    LastEvent::After(at) => (">", at),
                };
                let at = self.bind(*at);
                format!(
                    "coalesce((SELECT greatest(w.last_open_at, w.last_click_at) {operator} {at}
                     FROM contact_engagement w WHERE w.contact = c.number), false)"
                )
            }
        }
    }

    fn joined(&mut self, parts: &[Filter], operator: &str, empty: &str) -> String {
        if parts.is_empty() {
            return empty.to_owned();
        }
        let conditions: Vec<String> = parts.iter().map(|part| self.condition(part)).collect();
        format!("({})", conditions.join(operator))
    }

    fn attribute(&mut self, name: &str, test: &Test) -> String {
        let name = self.bind(name.to_owned());
        let value = format!("c.attributes -> {name}::text");
        let text = format!("c.attributes ->> {name}::text");
        match test {
            Test::Eq(wanted) => {
                format!("coalesce({value} = {}::jsonb, false)", self.bind(Json(wanted.clone())))
            }
            Test::Ne(other) => {
                format!("coalesce({value} <> {}::jsonb, false)", self.bind(Json(other.clone())))
            }
            Test::In(wanted) => {
                let wanted: Vec<Json<Value>> = wanted.iter().cloned().map(Json).collect();
                format!("coalesce({value} = ANY({}::jsonb[]), false)", self.bind(wanted))
            }
            Test::Exists(flag) => format!("((c.attributes ? {name}::text) = {})", self.bind(*flag)),
            Test::Order(order, bound) => {
                let operator = sql_operator(*order);
                match bound {
                    Value::Number(number) => {
                        let bound = self.bind(number.to_string());
                        format!(
                            "(CASE jsonb_typeof({value}) WHEN 'number'
                              THEN ({text})::numeric {operator} {bound}::text::numeric ELSE false END)"
                        )
                    }
                    bound => {
                        let bound = self.bind(bound.as_str().unwrap_or_default().to_owned());
                        format!(
                            "(CASE jsonb_typeof({value}) WHEN 'string'
                              THEN ({text}) COLLATE \"C\" {operator} {bound}::text ELSE false END)"
                        )
                    }
                }
            }
            Test::Contains(wanted) => {
                let element = self.bind(Json(wanted.clone()));
                let list = format!("WHEN 'array' THEN ({value}) @> {element}::jsonb");
                let part = match wanted.as_str() {
                    Some(part) => {
                        format!("WHEN 'string' THEN strpos({text}, {}::text) > 0", self.bind(part.to_owned()))
                    }
                    None => String::new(),
                };
                format!("(CASE jsonb_typeof({value}) {list} {part} ELSE false END)")
            }
        }
    }

    fn engaged(&mut self, engaged: &Engaged, what: &str) -> String {
        match engaged {
            Engaged::Campaign(id) => {
                let id = self.bind(id.clone());
                let happened = match what {
                    "open" => "(e.first_open_at IS NOT NULL OR e.first_click_at IS NOT NULL)",
                    _ => "e.first_click_at IS NOT NULL",
                };
                format!(
                    "EXISTS (SELECT FROM engagement e WHERE e.contact = c.number AND {happened}
                     AND e.campaign = ANY (ARRAY(SELECT k.number FROM campaigns k WHERE k.id = {id})))"
                )
            }
            Engaged::Within(Span(seconds)) => {
                let since = self
                    .instant
                    .saturating_sub(jiff::SignedDuration::from_secs(*seconds))
                    .unwrap_or(Timestamp::MIN);
                let since = self.bind(since);
                let last = match what {
                    "open" => "greatest(w.last_open_at, w.last_click_at)",
                    _ => "w.last_click_at",
                };
                format!(
                    "EXISTS (SELECT FROM contact_engagement w WHERE w.contact = c.number AND {last} >= {since})"
                )
            }
        }
    }
}

fn sql_operator(order: Order) -> &'static str {
    match order {
        Order::Gt => ">",
        Order::Gte => ">=",
        Order::Lt => "<",
        Order::Lte => "<=",
    }
}
