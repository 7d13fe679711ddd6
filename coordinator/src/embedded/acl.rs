//! Who may do what: the schemes `world`, `auth`, `digest` and `ip`, as ZooKeeper checks them.
//!
//! Pure. No name of a host is ever looked up (CVE-2026-24281), and no super user exists.

use std::collections::HashSet;
use std::net::IpAddr;

use sha1::{Digest, Sha1};

use super::records::{Acl, AclList, ErrorCode, Id, perms};

/// Longest ACL of a node: every access walks it.
const ENTRIES_MAX: usize = 1000;

/// `Ok` when one entry of `acl` grants one of the bits in `perm` to one of `who`.
/// An empty ACL grants all, as in ZooKeeper; no request can set one.
pub(super) fn check(acl: &[Acl], perm: i32, who: &[Id]) -> Result<(), ErrorCode> {
    let granted = |entry: &Acl| {
        entry.perms & perm != 0
            && (is_anyone(&entry.id) || who.iter().any(|id| matches_id(&entry.id, id)))
    };
    if acl.is_empty() || acl.iter().any(granted) {
        Ok(())
    } else {
        Err(ErrorCode::NoAuth)
    }
}

/// The ACL that a request asks for, with `auth` replaced by the identities of the asker.
pub(super) fn fix_up(asked: &[Acl], who: &[Id]) -> Result<AclList, ErrorCode> {
    let mut seen = HashSet::new();
    let mut fixed = Vec::new();
    for entry in asked.iter().filter(|entry| seen.insert(*entry)) {
        match &*entry.id.scheme {
            "world" if is_anyone(&entry.id) => fixed.push(entry.clone()),
            "auth" => {
                let before = fixed.len();
                let digests = who.iter().filter(|id| &*id.scheme == "digest");
                fixed.extend(digests.map(|id| Acl {
                    perms: entry.perms,
                    id: id.clone(),
                }));
                if fixed.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            "digest" if is_digest(&entry.id.id) => fixed.push(entry.clone()),
            "ip" if network(&entry.id.id).is_some() => fixed.push(entry.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    if fixed.is_empty() || fixed.len() > ENTRIES_MAX {
        return Err(ErrorCode::InvalidAcl);
    }
    Ok(fixed.into())
}

/// What `getACL` may show: who lacks ADMIN must not see digests (CVE-2019-0201).
pub(super) fn shown(acl: &[Acl], who: &[Id]) -> Vec<Acl> {
    let admin = check(acl, perms::ADMIN, who).is_ok();
    let shown = |entry: &Acl| match entry.id.id.split_once(':') {
        Some((user, _)) if !admin && &*entry.id.scheme == "digest" => Acl {
            perms: entry.perms,
            id: Id::new("digest", &format!("{user}:x")),
        },
        _ => entry.clone(),
    };
    acl.iter().map(shown).collect()
}

/// The identity that `addauth digest user:password` gives: `user:base64(sha1(user:password))`.
pub(super) fn digest_identity(secret: &[u8]) -> Id {
    let text = String::from_utf8_lossy(secret);
    let user = text.split(':').next().unwrap_or_default();
    let hash = base64(&Sha1::digest(text.as_bytes()));
    Id::new("digest", &format!("{user}:{hash}"))
}

/// The user's name within an identity, as `whoAmI` tells it.
pub(super) fn user_of(id: &Id) -> &str {
    match &*id.scheme {
        "digest" => id.id.split(':').next().unwrap_or_default(),
        _ => &id.id,
    }
}

fn is_anyone(id: &Id) -> bool {
    &*id.scheme == "world" && &*id.id == "anyone"
}

fn is_digest(id: &str) -> bool {
    id.split(':').count() == 2
}

fn matches_id(wanted: &Id, id: &Id) -> bool {
    match (&*wanted.scheme, &*id.scheme) {
        ("digest", "digest") => wanted.id == id.id,
        ("ip", "ip") => match (network(&wanted.id), id.id.parse::<IpAddr>()) {
            (Some(network), Ok(address)) => network.contains(address),
            _ => false,
        },
        _ => false,
    }
}

/// `address[/bits]` of an `ip` entry.
struct Network {
    bytes: Vec<u8>,
    bits: usize,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let address = octets(address);
        let bit = |bytes: &[u8], i: usize| bytes.get(i / 8).map(|b| b >> (7 - i % 8) & 1);
        address.len() == self.bytes.len()
            && (0..self.bits).all(|i| bit(&address, i) == bit(&self.bytes, i))
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let bytes = octets(address.parse().ok()?);
    let bits_max = bytes.len() * 8;
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|&bits| bits <= bits_max)?,
        None => bits_max,
    };
    Some(Network { bytes, bits })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let bits = padded.iter().fold(0, |bits, byte| bits << 8 | byte);
        for i in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * i) & 63) as usize);
            let used = i <= chunk.len();
            text.push(char::from(*digit.filter(|_| used).unwrap_or(&b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl {
            perms,
            id: Id::new(scheme, id),
        }
    }

    #[test]
    fn the_digest_is_zookeepers() {
        // From ZooKeeper's documentation of the digest scheme.
        let id = digest_identity(b"super:superpw");
        assert_eq!(&*id.id, "super:g9oN2HttPfn8MMWJZ2r45Np/LIA=");
        assert_eq!(user_of(&id), "super");
        assert_eq!(user_of(&digest_identity(b"nocolon")), "nocolon");
    }

    #[test]
    fn base64_pads() {
        let all = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="];
        for (n, text) in all.iter().enumerate() {
            assert_eq!(&base64(&b"foobar"[..n]), text);
        }
    }

    #[test]
    fn permissions_are_granted_by_bits_and_identity() {
        let alice = digest_identity(b"alice:a");
        let acl = [
            entry(perms::READ, "world", "anyone"),
            entry(perms::ALL, "digest", &alice.id),
            entry(perms::WRITE, "ip", "127.0.0.0/8"),
        ];
        assert!(check(&acl, perms::READ, &[]).is_ok());
        assert_eq!(check(&acl, perms::ADMIN, &[]), Err(ErrorCode::NoAuth));
        assert!(check(&acl, perms::ADMIN, &[alice]).is_ok());
        assert!(check(&acl, perms::ADMIN, &[digest_identity(b"alice:b")]).is_err());
        assert!(check(&acl, perms::WRITE, &[Id::new("ip", "127.1.2.3")]).is_ok());
        assert!(check(&acl, perms::WRITE, &[Id::new("ip", "128.0.0.1")]).is_err());
        assert!(check(&acl, perms::WRITE, &[Id::new("ip", "::1")]).is_err());
        assert!(check(&[], perms::ADMIN, &[]).is_ok());
    }

    #[test]
    fn asked_acls_are_checked_and_expanded() {
        let alice = digest_identity(b"alice:a");
        let who = [Id::new("ip", "127.0.0.1"), alice.clone()];
        let fixed = fix_up(&[entry(31, "auth", "")], &who);
        assert_eq!(fixed.as_deref(), Ok(&[entry(31, "digest", &alice.id)][..]));
        let twice = [entry(1, "world", "anyone"), entry(1, "world", "anyone")];
        assert_eq!(fix_up(&twice, &[]).map(|acl| acl.len()), Ok(1));
        for bad in [
            entry(31, "auth", ""),
            entry(31, "world", "me"),
            entry(31, "digest", "nohash"),
            entry(31, "digest", "a:b:c"),
            entry(31, "ip", "300.0.0.1"),
            entry(31, "ip", "127.0.0.1/33"),
            entry(31, "host", "x"),
            entry(31, "", ""),
        ] {
            let asked = std::slice::from_ref(&bad);
            assert_eq!(
                fix_up(asked, &who[..1]),
                Err(ErrorCode::InvalidAcl),
                "{bad:?}"
            );
        }
        assert_eq!(fix_up(&[], &who), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn digests_are_hidden_from_who_is_not_admin() {
        let alice = digest_identity(b"alice:a");
        let acl = [entry(31, "digest", &alice.id), entry(1, "world", "anyone")];
        assert_eq!(&*shown(&acl, &[])[0].id.id, "alice:x");
        assert_eq!(shown(&acl, &[alice]), acl);
    }
}
