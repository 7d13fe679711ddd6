use nyala_client::wire::batch::{BatchBuilder, BatchOptions};
use nyala_client::wire::compression::Codec;

use super::*;

/// A batch with one record for each list of `x-fence` values.
pub(in crate::storage) fn fenced(codec: Codec, records: &[&[&str]]) -> Vec<u8> {
    let options = BatchOptions {
        codec,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    for values in records {
        let headers: Vec<(&str, Option<&[u8]>)> = values
            .iter()
            .map(|value| ("x-fence", Some(value.as_bytes())))
            .collect();
        let appended = builder.append(1, None, Some(b"value"), &headers);
        appended.expect("fits");
    }
    builder.build().expect("builds").to_vec()
}

fn verdict(fences: &Fences, codec: Codec, records: &[&[&str]]) -> String {
    let checked = fence_marks(&fenced(codec, records)).and_then(|marks| fences.check(&marks));
    checked.map_or_else(|refusal| refusal.to_string(), |()| "let in".to_owned())
}

fn knowing(values: &[&str]) -> Fences {
    let mut fences = Fences::default();
    fences.note(&logged_marks(&fenced(Codec::None, &[values])), 1);
    fences
}

#[test]
fn the_largest_token_of_each_name_rules() {
    let fences = knowing(&["7", "/locks/a:9", "host:80:3"]);
    let cases: [(&[&[&str]], &str); 9] = [
        (&[&[]], "let in"),
        (&[&["7"]], "let in"),
        (&[&["8"], &["8"], &[], &["9"]], "let in"),
        (&[&["/locks/a:9", "7"]], "let in"),
        (&[&["/locks/b:1"]], "let in"),
        (
            &[&["7"], &["6"]],
            "fenced: token 6 of record 1 is older than 7",
        ),
        (
            &[&["8"], &["/locks/a:8"]],
            "fenced: token 8 of record 1 is older than 9 of /locks/a",
        ),
        (
            &[&["8"], &["7"]],
            "fenced: token 7 of record 1 is older than 8",
        ),
        (
            &[&["host:80:2"]],
            "fenced: token 2 of record 0 is older than 3 of host:80",
        ),
    ];
    for (records, expected) in cases {
        for codec in [
            Codec::None,
            Codec::Zstd,
            Codec::Lz4,
            Codec::Gzip,
            Codec::Snappy,
        ] {
            assert_eq!(verdict(&fences, codec, records), expected, "{records:?}");
        }
    }
}

#[test]
fn what_is_no_token_is_refused_and_counts_as_absent_in_a_log() {
    let long = format!("{}:1", "x".repeat(256));
    let none = Fences::default();
    for value in [
        "",
        "-1",
        "+1",
        "x",
        "a:",
        "1:a",
        "a b:1",
        "9223372036854775808",
        &long,
    ] {
        let said = verdict(&none, Codec::None, &[&["4"], &[value]]);
        assert!(
            said.starts_with("x-fence of record 1 is "),
            "{value}: {said}"
        );
        assert_eq!(knowing(&[value]).newest.len(), 0, "{value}");
    }
    assert_eq!(
        verdict(&none, Codec::None, &[&["9223372036854775807"]]),
        "let in"
    );
}

#[test]
fn the_number_of_names_is_bounded() {
    let names: Vec<String> = (0..NAMES_MAX).map(|i| format!("{i}:5")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fences = knowing(&names);
    assert_eq!(verdict(&fences, Codec::None, &[&["3:6"]]), "let in");
    let said = verdict(&fences, Codec::None, &[&["other:6"]]);
    assert!(said.contains("at most 1000"), "{said}");
    let empty = Fences::default();
    let more: Vec<&str> = names.iter().copied().chain(["other:6"]).collect();
    assert!(verdict(&empty, Codec::None, &[&more]).contains("at most 1000"));
}

#[test]
fn the_file_reads_back_and_any_damage_shows() {
    let mut fences = knowing(&["7", "/locks/a:9"]);
    fences.counted_to = 42;
    let text = fences.encode();
    fences.stored_to = Some(42);
    assert_eq!(Fences::decode(&text), Some(fences));
    for i in 0..text.len() {
        assert_eq!(Fences::decode(&text[..i]), None, "cut at {i}");
        let mut bytes = text.clone().into_bytes();
        bytes[i] ^= 1;
        let flipped = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(Fences::decode(&flipped), None, "flipped at {i}");
    }
}
