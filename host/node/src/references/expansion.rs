//! `$(NAME)` references in variables, commands and arguments, as Kubernetes expands them.

use std::borrow::Cow;

/// Replaces every `$(NAME)` that `value_of` knows; the others stay as they are. `$$` is a `$` that begins no reference.
pub(super) fn expand<'v>(input: &str, mut value_of: impl FnMut(&str) -> Option<Cow<'v, str>>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some((before, after)) = rest.split_once('$') {
        output.push_str(before);
        if let Some(escaped) = after.strip_prefix('$') {
            output.push('$');
            rest = escaped;
        } else if let Some((name, following)) = after.strip_prefix('(').and_then(|opened| opened.split_once(')')) {
            match value_of(name) {
                Some(value) => output.push_str(&value),
                None => {
                    output.push_str("$(");
                    output.push_str(name);
                    output.push(')');
                }
            }
            rest = following;
        } else {
            // Begins nothing, or a reference without an end.
            output.push('$');
            rest = after;
        }
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value_of(name: &str) -> Option<Cow<'static, str>> {
        match name {
            "A" => Some("a".into()),
            "REF" => Some("$(A)".into()),
            "EMPTY" => Some("".into()),
            "B C" => Some("bc".into()),
            "" => Some("nameless".into()),
            _ => None,
        }
    }

    #[test]
    fn references_expand_as_kubernetes_expands_them() {
        for (input, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "a"),
            ("x$(A)y$(A)", "xaya"),
            ("$(REF)", "$(A)"),
            ("[$(EMPTY)]", "[]"),
            ("$(B C)", "bc"),
            ("$()", "nameless"),
            ("$(MISSING)", "$(MISSING)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$(A", "$(A"),
            ("$(A$(A)", "$(A$(A)"),
            ("$($(A))", "$($(A))"),
            ("$A", "$A"),
            ("$", "$"),
            ("$$", "$"),
            ("a$", "a$"),
            ("$(", "$("),
            ("$($$", "$($"),
            ("$é$(A)", "$éa"),
            ("$)$(A)", "$)a"),
            ("$(A)$(", "a$("),
        ] {
            assert_eq!(expand(input, value_of), expected, "{input}");
        }
    }

    /// The specification by bytes and positions, as a second opinion on the one by slices.
    fn specification(input: &str) -> String {
        let bytes = input.as_bytes();
        let (mut output, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            if bytes[at] != b'$' || at + 1 == bytes.len() {
                output.push(bytes[at]);
                at += 1;
            } else if bytes[at + 1] == b'$' {
                output.push(b'$');
                at += 2;
            } else if bytes[at + 1] == b'(' {
                match bytes[at + 2..].iter().position(|byte| *byte == b')') {
                    Some(length) => {
                        let name = std::str::from_utf8(&bytes[at + 2..at + 2 + length]).unwrap();
                        match value_of(name) {
                            Some(value) => output.extend(value.bytes()),
                            None => output.extend(format!("$({name})").bytes()),
                        }
                        at += length + 3;
                    }
                    None => {
                        output.extend(b"$(");
                        at += 2;
                    }
                }
            } else {
                output.push(b'$');
                at += 1;
            }
        }
        String::from_utf8(output).unwrap()
    }

    proptest! {
        #[test]
        fn expansion_follows_the_specification(input in "[$()AéREF]{0,24}") {
            prop_assert_eq!(expand(&input, value_of), specification(&input));
        }

        #[test]
        fn text_without_a_dollar_is_unchanged(input in "[^$]{0,40}") {
            prop_assert_eq!(expand(&input, value_of), input);
        }
    }
}
