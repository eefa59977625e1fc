//! A line as the words that a shell would make of it.

/// The words of a line; quotes hold one together, and a backslash takes the next character as it is.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(one) = characters.next() {
        match (quote, one) {
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (Some(open), _) if open == one => quote = None,
            (None, '"' | '\'') => {
                quote = Some(one);
                word.get_or_insert_default();
            }
            (None, _) if one.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, _) => word.get_or_insert_default().push(one),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words(r#"-m comment  --comment "a \"b\" c" '' x"#),
            Ok(vec![
                "-m".to_owned(),
                "comment".to_owned(),
                "--comment".to_owned(),
                "a \"b\" c".to_owned(),
                String::new(),
                "x".to_owned(),
            ])
        );
        assert!(words("a \"b").is_err());
    }
}
