//! A JSON value as YAML. Every string is written in double quotes as JSON does, which is YAML too (YAML 1.2
//! section 7.3.1), so no rule about plain words that mean something else is needed, and no library.

use std::fmt::Write;

use serde_json::Value;

/// One document with a line break at its end.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => object(&mut text, value, 0),
        Value::Array(items) if !items.is_empty() => array(&mut text, items, 0),
        scalar => {
            let _ = writeln!(text, "{scalar}");
        }
    }
    text
}

fn object(text: &mut String, value: &Value, depth: usize) {
    let Value::Object(members) = value else { return };
    for (index, (key, member)) in members.iter().enumerate() {
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&"  ".repeat(depth));
        }
        let _ = write!(text, "{}:", Value::from(key.as_str()));
        nested(text, member, depth);
    }
}

fn array(text: &mut String, items: &[Value], depth: usize) {
    for item in items {
        text.push_str(&"  ".repeat(depth));
        text.push_str("- ");
        match item {
            Value::Object(members) if !members.is_empty() => object(text, item, depth + 1),
            Value::Array(inner) if !inner.is_empty() => {
                // The dash stands alone; the list follows on lines of its own.
                text.truncate(text.trim_end().len());
                text.push('\n');
                array(text, inner, depth + 1);
            }
            scalar => {
                let _ = writeln!(text, "{scalar}");
            }
        }
    }
}

fn nested(text: &mut String, member: &Value, depth: usize) {
    match member {
        Value::Object(members) if !members.is_empty() => {
            text.push('\n');
            object(text, member, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            array(text, items, depth + 1);
        }
        scalar => {
            let _ = writeln!(text, " {scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_lists_are_indented_and_strings_quoted() {
        let value = json!({
            "generation": 3, "drift": false, "problem": null, "nodes": [
                {"address": "no", "problems": ["a: b", "#c"]}, {"address": "10.0.0.4", "problems": []},
            ],
            "nested": {"a": {"b": "line\nbreak"}}, "lists": [[1, 2], []],
        });
        let expected = r##""drift": false
"generation": 3
"lists":
  -
    - 1
    - 2
  - []
"nested":
  "a":
    "b": "line\nbreak"
"nodes":
  - "address": "no"
    "problems":
      - "a: b"
      - "#c"
  - "address": "10.0.0.4"
    "problems": []
"problem": null
"##;
        assert_eq!(yaml(&value), expected);
        assert_eq!(yaml(&json!([])), "[]\n");
    }
}
