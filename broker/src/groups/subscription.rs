//! The one thing that the broker reads from a consumer's JoinGroup metadata: its topics.
//!
//! The form is the client's own (ConsumerProtocolSubscription); version 0 is the prefix of all
//! later ones: version (2 bytes), count (4), then strings with 2 bytes of length. Pure.

/// Topics of a subscription; `None` if the bytes are not one.
pub(crate) fn topics(mut metadata: &[u8]) -> Option<Vec<String>> {
    let version = i16::from_be_bytes(take(&mut metadata)?);
    let count = i32::from_be_bytes(take(&mut metadata)?);
    if version < 0 {
        return None;
    }
    let count = usize::try_from(count).ok()?;
    // A topic takes two bytes at least: a larger count is a lie and reserves nothing.
    if count > metadata.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(i16::from_be_bytes(take(&mut metadata)?)).ok()?;
        let (name, rest) = metadata.split_at_checked(length)?;
        topics.push(std::str::from_utf8(name).ok()?.to_owned());
        metadata = rest;
    }
    Some(topics)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn reads_the_topics_of_every_version() {
        // Version 3 as Java 3.9 writes it: topics [a, bc], then user data and owned partitions.
        let mut bytes = vec![0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c'];
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(topics(&bytes), Some(vec!["a".to_owned(), "bc".to_owned()]));
    }

    #[test]
    fn lies_about_counts_and_lengths_are_no_subscription() {
        for bad in [
            &[][..],
            &[0],
            &[0, 0, 0x7f, 0xff, 0xff, 0xff],
            &[0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 0, 1, 0x7f, 0xff, b'a'],
            &[0, 0, 0, 0, 0, 1, 0xff, 0xff],
            &[0, 0, 0, 0, 0, 1, 0, 1, 0xff],
        ] {
            assert_eq!(topics(bad), None, "{bad:?}");
        }
    }
}
