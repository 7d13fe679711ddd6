//! Error messages as they go to clients: short, whatever the client wrote that they quote.

/// Bytes of a message; a string on the wire holds 32767, and a request may well quote that much.
const MESSAGE_BYTES_MAX: usize = 1000;

/// The message, cut at a character when it is long.
pub(super) fn brief(message: &impl ToString) -> String {
    let mut text = message.to_string();
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(brief(&"short"), "short");
        let long = brief(&"é".repeat(20_000));
        assert!(long.len() <= MESSAGE_BYTES_MAX + 3 && long.ends_with("é..."));
    }
}
