//! Selectors of labels.

use serde_json::Value;

use crate::kube::order::mention::{list, text};
use crate::kube::workload::labels;

/// Whether a `LabelSelector` (`matchLabels`, `matchExpressions`) takes something with these labels. An empty one takes
/// everything, none takes nothing.
pub(crate) fn selects<'l>(selector: Option<&Value>, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else { return false };
    labels(selector.get("matchLabels")).all(|(name, value)| label(name) == Some(value))
        && list(selector, "/matchExpressions").all(|expression| holds(expression, &label))
}

/// Whether a node that has these labels and this name fits one of the terms of a node affinity's `required…`.
pub(crate) fn fits_terms<'l>(
    required: &Value,
    name: &'l str,
    label: impl Fn(&str) -> Option<&'l str>,
) -> bool {
    list(required, "/nodeSelectorTerms").any(|term| fits_term(term, name, &label))
}

/// Whether a node fits a single term. An empty one takes no node.
pub(crate) fn fits_term<'l>(term: &Value, name: &'l str, label: &impl Fn(&str) -> Option<&'l str>) -> bool {
    let mut expressions = list(term, "/matchExpressions").peekable();
    let mut fields = list(term, "/matchFields").peekable();
    let some = expressions.peek().is_some() || fields.peek().is_some();
    let field = |field: &str| (field == "metadata.name").then_some(name);
    some && expressions.all(|expression| holds(expression, label))
        && fields.all(|expression| holds(expression, field))
}

/// Whether a `LabelSelector` is there and asks for nothing.
pub(crate) fn is_empty(selector: Option<&Value>) -> bool {
    selector.is_some_and(|selector| {
        selector.is_object()
            && labels(selector.get("matchLabels")).next().is_none()
            && list(selector, "/matchExpressions").next().is_none()
    })
}

fn holds<'l>(expression: &Value, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    let there = text(expression, "/key").and_then(label);
    let listed = |there: &str| list(expression, "/values").any(|value| value.as_str() == Some(there));
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = list(expression, "/values").next().and_then(Value::as_str).and_then(number);
    match text(expression, "/operator") {
        Some("In") => there.is_some_and(listed),
        Some("NotIn") => !there.is_some_and(listed),
        Some("Exists") => there.is_some(),
        Some("DoesNotExist") => there.is_none(),
        Some("Gt") => there.and_then(number).zip(bound).is_some_and(|(there, bound)| there > bound),
        Some("Lt") => there.and_then(number).zip(bound).is_some_and(|(there, bound)| there < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select() {
        let label = |name: &str| match name {
            "app" => Some("user"),
            "cores" => Some("8"),
            _ => None,
        };
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "user"}}), true),
            (json!({"matchLabels": {"app": "users"}}), false),
            (json!({"matchLabels": {"app": "user", "tier": "x"}}), false),
            (expression("app", "In", &["a", "user"]), true),
            (expression("app", "NotIn", &["user"]), false),
            (expression("tier", "NotIn", &["x"]), true),
            (expression("app", "Exists", &[]), true),
            (expression("tier", "DoesNotExist", &[]), true),
            (expression("cores", "Gt", &["4"]), true),
            (expression("cores", "Lt", &["4"]), false),
            (expression("app", "Like", &["user"]), false),
        ] {
            assert_eq!(selects(Some(&selector), label), expected, "{selector}");
        }
        assert!(!selects(None, label));
        let terms = |term: Value| json!({"nodeSelectorTerms": [term]});
        assert!(!fits_terms(&terms(json!({})), "n", label), "an empty term takes no node");
        let field = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]});
        assert!(fits_terms(&terms(field), "n", label));
    }
}
