//! `${VAR}` and `${VAR:-default}` inside strings; `$$` is a dollar, and any other `$` is itself.

/// The text with its variables put in. The error says what is wrong without showing a value.
pub(super) fn put_in(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        whole.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            whole.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some((inside, after)) = after.split_once('}') else {
                return Err("\"${\" has no closing \"}\"; a dollar itself is written $$".into());
            };
            whole.push_str(&value(inside, env)?);
            rest = after;
        } else {
            whole.push('$');
        }
    }
    whole.push_str(rest);
    Ok(whole)
}

fn value(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts_well || !name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') {
        return Err("\"${…}\" must hold a variable's name, as in ${NAME} or ${NAME:-default}; \
                    a dollar itself is written $$"
            .into());
    }
    // The brace that ends the inner one would be taken for the end of this.
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!(
            "the default of {name} has a variable in it, and variables do not nest; \
             write a plain text after \":-\""
        ));
    }
    match (env(name), default) {
        // As in a shell, a default stands in for an empty variable too.
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or give a default: \
             ${{{name}:-…}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str) -> Result<String, String> {
        put_in(text, &|name| match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_defaults_and_dollars_are_put_in() {
        for (written, value) in [
            ("plain", "plain"),
            ("${A}", "one"),
            ("<${A}${A}>", "<oneone>"),
            ("${EMPTY}", ""),
            ("${EMPTY:-two}", "two"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("/web$/", "/web$/"),
            ("5 $ and $x", "5 $ and $x"),
            ("é${A}é", "éoneé"),
        ] {
            assert_eq!(put(written).as_deref(), Ok(value), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_is_an_error() {
        for (written, words) in [
            ("${NONE}", "the environment variable NONE is not set"),
            ("${A", "no closing"),
            ("${}", "must hold a variable's name"),
            ("${1A}", "must hold a variable's name"),
            ("${A-x}", "must hold a variable's name"),
            ("${A:-${B}}", "the default of A has a variable in it"),
            ("${NONE:-x${B:-y}z}", "the default of NONE has a variable in it"),
        ] {
            assert!(put(written).unwrap_err().contains(words), "{written}");
        }
    }
}
