//! Java's `.properties` syntax, as `java.util.Properties.load` reads `server.properties`.
//!
//! Bytes are ISO-8859-1, `\uXXXX` stands for any character, a line goes on after an odd number of
//! backslashes, `=`, `:` or blanks part key from value, and the last of several values wins.

use std::iter::Peekable;
use std::str::Chars;

use super::Values;

/// The pairs of one properties file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Values by key; of a key given twice, the last.
    pub values: Values,
}

/// Why a text is no properties file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// `\u` without four hexadecimal digits.
    #[error("line {line}: malformed \\uxxxx encoding")]
    Unicode {
        /// Number of the line where the pair starts, from 1.
        line: usize,
    },
    /// An override on the command line has no `=`.
    #[error("{0:?} is not key=value")]
    NotAPair(String),
}

impl Properties {
    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PropertiesError> {
        let text: String = bytes.iter().map(|&b| char::from(b)).collect();
        let mut values = Values::new();
        for (line, logical) in logical_lines(&text) {
            let (key, value) = pair(&logical).ok_or(PropertiesError::Unicode { line })?;
            values.insert(key, value);
        }
        Ok(Self { values })
    }

    /// Adds one `key=value` of the command line; it wins over what the file said.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), PropertiesError> {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| PropertiesError::NotAPair(pair.to_owned()))?;
        self.values
            .insert(key.trim().to_owned(), value.trim().to_owned());
        Ok(())
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Joins continued lines; drops comments and empty lines; keeps escapes for [`pair`].
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    for (index, natural) in normal.split('\n').enumerate() {
        let natural = natural.trim_start_matches(is_blank);
        if pending.is_none() && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let (first, mut whole) = pending.take().unwrap_or((index + 1, String::new()));
        let backslashes = natural.chars().rev().take_while(|&c| c == '\\').count();
        if backslashes % 2 == 1 {
            whole.push_str(natural.get(..natural.len() - 1).unwrap_or(""));
            pending = Some((first, whole));
        } else {
            whole.push_str(natural);
            lines.push((first, whole));
        }
    }
    lines.extend(pending);
    lines
}

/// Splits one logical line; `None` for a malformed `\u`.
fn pair(line: &str) -> Option<(String, String)> {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(&c) = chars.peek() {
        if is_blank(c) || c == '=' || c == ':' {
            break;
        }
        key.push(unescaped(&mut chars)?);
    }
    let mut separator_seen = false;
    while let Some(&c) = chars.peek() {
        if is_blank(c) {
            chars.next();
        } else if !separator_seen && (c == '=' || c == ':') {
            separator_seen = true;
            chars.next();
        } else {
            break;
        }
    }
    let mut value = String::new();
    while chars.peek().is_some() {
        value.push(unescaped(&mut chars)?);
    }
    Some((key, value))
}

/// The next character, which must exist, with its escape undone.
fn unescaped(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    let c = chars.next()?;
    if c != '\\' {
        return Some(c);
    }
    match chars.next() {
        Some('t') => Some('\t'),
        Some('n') => Some('\n'),
        Some('r') => Some('\r'),
        Some('f') => Some('\u{c}'),
        Some('u') => {
            let unit = code_unit(chars)?;
            if !(0xd800..0xdc00).contains(&unit) {
                return Some(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // A surrogate pair is two escapes in a row, since Java's characters are UTF-16.
            let mut ahead = chars.clone();
            if ahead.next() == Some('\\') && ahead.next() == Some('u') {
                let low = code_unit(&mut ahead)?;
                if (0xdc00..0xe000).contains(&low) {
                    *chars = ahead;
                    let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    return Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
            Some(char::REPLACEMENT_CHARACTER)
        }
        Some(other) => Some(other),
        None => Some('\0'),
    }
}

fn code_unit(chars: &mut Peekable<Chars<'_>>) -> Option<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, pairs: &[(&str, &str)]) {
        let want: Values = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let got = Properties::parse(text.as_bytes()).expect("parses").values;
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn separators_blanks_comments_and_last_wins() {
        check("a=1\nb:2\nc 3\n", &[("a", "1"), ("b", "2"), ("c", "3")]);
        check("  a  =  1 \n", &[("a", "1 ")]);
        check("# x=1\n! y=2\n\n\t\n  # z\n", &[]);
        check("a=1\r\na=2\r", &[("a", "2")]);
        check("a\nb=\n", &[("a", ""), ("b", "")]);
        check("a==1\nb= :2\n", &[("a", "=1"), ("b", ":2")]);
    }

    #[test]
    fn continuation_and_escapes() {
        check("a=1,\\\n   2\nb=3", &[("a", "1,2"), ("b", "3")]);
        check("a=x\\\\\nb=y", &[("a", "x\\"), ("b", "y")]);
        check("a\\ b\\=c=d\\:e", &[("a b=c", "d:e")]);
        check("a=\\u00e4\\t\\n\\q", &[("a", "ä\t\nq")]);
        check("a=\\ud83d\\ude00", &[("a", "😀")]);
        check("a=1\\\n# not a comment", &[("a", "1# not a comment")]);
        assert_eq!(
            Properties::parse(b"a=1\nb=\\u12"),
            Err(PropertiesError::Unicode { line: 2 })
        );
    }

    #[test]
    fn bytes_are_latin_1() {
        let got = Properties::parse(b"a=\xe4").expect("parses").values;
        assert_eq!(got.get("a").map(String::as_str), Some("ä"));
    }

    #[test]
    fn an_override_needs_a_key_and_an_equals_sign() {
        let mut p = Properties::default();
        assert!(p.set_pair("a=b=c").is_ok());
        assert_eq!(p.values.get("a").map(String::as_str), Some("b=c"));
        assert!(p.set_pair("a").is_err());
        assert!(p.set_pair("=a").is_err());
    }
}
