//! Reads one table of `client/schema`: an API, its two messages, their fields by version.
//!
//! A table is text: `api KEY NAME`, then `request` and `response` with their version range and
//! first flexible version, then a field a line - name, type, versions (all when left out),
//! `null[:versions]`, `tag:N`, `default:V`. Deeper indentation gives the fields of a struct, at
//! its first use.

use std::collections::BTreeMap;

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) low: i16,
    pub(crate) high: i16,
}

/// One API: key, name and both messages.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: String,
    pub(crate) request: Message,
    pub(crate) response: Message,
}

/// One message; the last of `structs` is the message itself.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) versions: Versions,
    /// First flexible version, `i16::MAX` when there is none.
    pub(crate) flexible: i16,
    pub(crate) structs: Vec<Struct>,
}

/// One Rust struct to write.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

/// One field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Type without the `[]`.
    pub(crate) item: String,
    pub(crate) array: bool,
    pub(crate) versions: Versions,
    /// Versions in which null is legal.
    pub(crate) null: Option<Versions>,
    pub(crate) tag: Option<u32>,
    pub(crate) default: Option<String>,
}

/// Non-empty lines of a table as (indentation, words).
type Lines<'a> = std::iter::Peekable<std::vec::IntoIter<(usize, Vec<&'a str>)>>;

/// Parses the whole table.
pub(crate) fn parse(text: &str) -> Result<Api, String> {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let indent = line.len() - line.trim_start().len();
            (indent, line.split_whitespace().collect())
        })
        .collect();
    let mut lines: Lines<'_> = lines.into_iter().peekable();
    let (_, head) = lines.next().ok_or("empty table")?;
    let ["api", key, name] = head[..] else {
        return Err(format!("expected `api KEY NAME`, found {head:?}"));
    };
    Ok(Api {
        key: number(key)?,
        name: name.to_owned(),
        request: message(&mut lines, "request", &format!("{name}Request"))?,
        response: message(&mut lines, "response", &format!("{name}Response"))?,
    })
}

fn message(lines: &mut Lines<'_>, kind: &str, name: &str) -> Result<Message, String> {
    let (_, head) = lines.next().ok_or("table ends early")?;
    let (versions, flexible) = match head[..] {
        [k, versions] if k == kind => (versions, None),
        [k, versions, "flexible", from] if k == kind => (versions, Some(from)),
        _ => return Err(format!("expected `{kind} VERSIONS`, found {head:?}")),
    };
    let versions = range(versions, None)?;
    let flexible = match flexible {
        Some(from) => range(from, Some(versions))?.low,
        None => i16::MAX,
    };
    let mut structs = Vec::new();
    let fields = fields(lines, 2, versions, &mut structs)?;
    structs.push(Struct {
        name: name.to_owned(),
        fields,
    });
    Ok(Message {
        versions,
        flexible,
        structs,
    })
}

fn fields(
    lines: &mut Lines<'_>,
    depth: usize,
    versions: Versions,
    structs: &mut Vec<Struct>,
) -> Result<Vec<Field>, String> {
    let mut found = Vec::new();
    while let Some((_, words)) = lines.next_if(|(indent, _)| *indent == depth) {
        let field = field(&words, versions)?;
        if lines.peek().is_some_and(|(indent, _)| *indent > depth) {
            let inner = fields(lines, depth + 2, versions, structs)?;
            structs.push(Struct {
                name: field.item.clone(),
                fields: inner,
            });
        }
        found.push(field);
    }
    Ok(found)
}

fn field(words: &[&str], all: Versions) -> Result<Field, String> {
    let [name, kind, attributes @ ..] = words else {
        return Err(format!("a field needs a name and a type: {words:?}"));
    };
    let mut attributes = attributes.iter().peekable();
    let versions = match attributes.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        Some(versions) => range(versions, Some(all))?,
        None => all,
    };
    let mut named = BTreeMap::new();
    for word in attributes {
        let (key, value) = word.split_once(':').unwrap_or((word, ""));
        named.insert(key, value);
    }
    let null = match named.remove("null") {
        Some("") => Some(versions),
        Some(text) => Some(range(text, Some(all))?),
        None => None,
    };
    let tag = named.remove("tag").map(number).transpose()?;
    let default = named.remove("default").map(str::to_owned);
    if let Some(unknown) = named.keys().next() {
        return Err(format!("unknown attribute {unknown:?} of field {name}"));
    }
    Ok(Field {
        name: (*name).to_owned(),
        item: kind.trim_start_matches("[]").to_owned(),
        array: kind.starts_with("[]"),
        versions,
        null,
        tag,
        default,
    })
}

/// Reads `3`, `3-5` or `3+`, the last one up to the end of `all`.
fn range(text: &str, all: Option<Versions>) -> Result<Versions, String> {
    if let (Some(low), Some(all)) = (text.strip_suffix('+'), all) {
        return Ok(Versions {
            low: number(low)?,
            high: all.high,
        });
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Ok(Versions {
        low: number(low)?,
        high: number(high)?,
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}
