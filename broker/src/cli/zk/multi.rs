//! `nyala zk multi`: a transaction from lines of text.

use std::error::Error;

use nyala_coordinator::recipes::transaction::{CreateId, Transaction, TransactionError};
use nyala_coordinator::session::Session;

use crate::cli::{lines, node_version, print_line};

/// Reads all lines, then does them. Prints the paths of nodes that were made.
pub(super) async fn run(session: &Session) -> Result<(), Box<dyn Error>> {
    let mut transaction = Transaction::new(session);
    let mut creates = Vec::new();
    let (mut blocks, _) = lines::read(None)?;
    // Of the operations: lines may be empty.
    let mut numbers = Vec::new();
    let mut number = 0;
    while let Some(block) = blocks.recv().await {
        for line in block? {
            number += 1;
            let text = std::str::from_utf8(&line).map_err(|e| format!("line {number}: {e}"))?;
            if text.is_empty() {
                continue;
            }
            let created = add(&mut transaction, text).map_err(|e| format!("line {number}: {e}"))?;
            creates.extend(created);
            numbers.push(number);
        }
    }
    let done = transaction
        .commit()
        .await
        .map_err(|error| at_line(error, &numbers))?;
    for create in creates {
        if let Some(path) = done.path(create) {
            print_line(path)?;
        }
    }
    Ok(())
}

/// Names the line that an operation stands in.
fn at_line(error: TransactionError, numbers: &[u64]) -> Box<dyn Error> {
    match error {
        TransactionError::Refused {
            index,
            operation,
            source,
        } => {
            let number = numbers.get(index).copied().unwrap_or_default();
            format!("line {number} ({operation}) was refused: {source}").into()
        }
        error => error.into(),
    }
}

/// One operation: `check PATH VERSION`, `create PATH [DATA]`, `create-sequential PATH [DATA]`,
/// `set PATH DATA`, `set@VERSION PATH DATA`, `delete PATH [VERSION]`. Data goes to the end of the line.
fn add(transaction: &mut Transaction, line: &str) -> Result<Option<CreateId>, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (path, data) = rest.split_once(' ').unwrap_or((rest, ""));
    let version = |text: &str| match text {
        "" => Ok(None),
        text => match node_version(text) {
            Ok(version) => Ok(Some(version)),
            Err(words) => Err(format!("{text:?} is no version: {words}")),
        },
    };
    match word {
        "check" => match version(data)? {
            Some(version) => drop(transaction.check(path, version)),
            None => drop(transaction.check_exists(path)),
        },
        "create" => return Ok(Some(transaction.create(path, data.as_bytes()))),
        "create-sequential" => {
            return Ok(Some(transaction.create_sequential(path, data.as_bytes())));
        }
        "delete" => drop(transaction.delete(path, version(data)?)),
        _ => match word.strip_prefix("set") {
            Some("") => drop(transaction.set(path, data.as_bytes(), None)),
            Some(at) if at.starts_with('@') => {
                let version = version(at.trim_start_matches('@'))?;
                transaction.set(path, data.as_bytes(), version);
            }
            _ => return Err(format!("{word:?} is not check, create, set or delete")),
        },
    }
    Ok(None)
}
