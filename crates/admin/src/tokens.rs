//! Everybody who may come in: a name, a role, and the hash of a token each.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::token::{Token, hash};

/// What somebody may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Stop and start queues, decide what becomes of what failed: whatever can be taken back, and
    /// what an incident asks somebody to decide.
    Operate,
    /// Remove for good, and change what messages say.
    Admin,
}

impl Role {
    /// Every role, the smallest first.
    pub const ALL: [Role; 3] = [Role::Read, Role::Operate, Role::Admin];

    /// The role as it is written and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no role; there are: read, operate, admin"))
    }
}

/// Who somebody is: what the audit remembers, and what decides on what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

#[derive(Clone)]
struct Entry {
    caller: Caller,
    hash: [u8; 32],
}

/// All tokens that open the API. Only hashes are kept.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Entry>);

/// The name of the token that is set as `KNARR_ADMIN_TOKEN`.
const ADMIN: &str = "admin";

impl Tokens {
    /// Those of a file: a line each, `name role hash`, where the hash is the token's SHA-256 as 64
    /// hex digits; `#` begins a comment. A name may stand twice, so that a token can be replaced
    /// without a gap, but with one role only.
    ///
    /// # Errors
    /// The number of each wrong line, from 1, with what is wrong; hashes are not repeated.
    pub fn read(text: &str) -> Result<Tokens, Vec<(usize, String)>> {
        let mut tokens = Tokens::default();
        let mut wrongs = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match tokens.entry(line) {
                Ok(entry) => tokens.0.push(entry),
                Err(why) => wrongs.push((at + 1, why)),
            }
        }
        if wrongs.is_empty() { Ok(tokens) } else { Err(wrongs) }
    }

    /// The same and one of role admin, named `admin`.
    #[must_use]
    pub fn with_admin(mut self, token: &Token) -> Tokens {
        let caller = Caller { name: ADMIN.to_owned(), role: Role::Admin };
        self.0.push(Entry { caller, hash: hash(token.reveal()) });
        self
    }

    fn entry(&self, line: &str) -> Result<Entry, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, role, digits] = words[..] else {
            return Err("is not three words: write `name role hash`, the hash being what `printf \
                        %s <token> | sha256sum` prints"
                .to_owned());
        };
        if [ADMIN, knarr_guard::GUARD].contains(&name) {
            return Err(format!("the name `{name}` is Knarr's own: take another one"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if name.len() > 64 || !name.bytes().all(plain) {
            return Err("names are 1 to 64 letters, digits, `.`, `_`, `@` and `-`".to_owned());
        }
        let role: Role = role.parse()?;
        if let Some(other) = self.0.iter().find(|entry| entry.caller.name == name)
            && other.caller.role != role
        {
            let had = other.caller.role;
            return Err(format!("`{name}` has the role {had} already: one name, one role"));
        }
        let hash = sha256(digits)
            .ok_or("its third word is no SHA-256: 64 hex digits, as sha256sum prints them")?;
        if let Some(other) = self.0.iter().find(|entry| entry.hash == hash) {
            return Err(format!(
                "is the token of `{}` too: one token, one name",
                other.caller.name
            ));
        }
        Ok(Entry { caller: Caller { name: name.to_owned(), role }, hash })
    }

    /// Whose token this is. Every entry is compared in full, so the time tells nothing about which
    /// one fitted, nor how much of it.
    pub(crate) fn whose(&self, given: &str) -> Option<&Caller> {
        let given = hash(given);
        let mut found = u64::MAX;
        for (at, entry) in self.0.iter().enumerate() {
            let same: Choice = entry.hash.ct_eq(&given);
            found = u64::conditional_select(&found, &(at as u64), same);
        }
        let entry = usize::try_from(found).ok().and_then(|at| self.0.get(at));
        entry.map(|entry| &entry.caller)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| &entry.caller)).finish()
    }
}

fn sha256(digits: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|it| it.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, it| sum << 4 | it)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, role: &str, token: &str) -> String {
        let hex: String = hash(token).iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{name} {role} {hex}")
    }

    #[test]
    fn s0_01_a_token_is_known_by_its_hash_and_has_a_name_and_a_role() {
        let text = format!(
            "# who may come in\n\n{}  # on call\n{}\n{}\n",
            line("anna", "operate", "token-of-anna"),
            line("grafana", "read", "token-of-grafana"),
            line("anna", "operate", "next-token-of-anna"),
        );
        let admin = Token::new("0123456789abcdef").expect("long enough");
        let tokens = Tokens::read(&text).expect("a good file").with_admin(&admin);
        let whose = |token: &str| tokens.whose(token).map(|it| (it.name.as_str(), it.role));
        assert_eq!(whose("0123456789abcdef"), Some(("admin", Role::Admin)));
        assert_eq!(whose("token-of-anna"), Some(("anna", Role::Operate)));
        assert_eq!(whose("next-token-of-anna"), Some(("anna", Role::Operate)));
        assert_eq!(whose("token-of-grafana"), Some(("grafana", Role::Read)));
        for wrong in ["", "token-of-ann", "token-of-annA", "0123456789abcdef0", &text] {
            assert_eq!(whose(wrong), None, "{wrong}");
        }
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
    }

    #[test]
    fn s0_01_every_wrong_line_is_told_with_its_number_and_no_hash_is_repeated() {
        let anna = line("anna", "operate", "token-of-anna");
        let twice = anna.replace("anna ", "otto ");
        let lines = [
            anna.as_str(),
            "# fine",
            "anna operate",
            "admin read 00",
            "knarr read 00",
            "an/na read 00",
            "otto boss 00",
            "anna read 00",
            "otto read abcdef",
            twice.as_str(),
        ];
        let wrongs = Tokens::read(&lines.join("\n")).expect_err("wrong lines");
        let told: Vec<(usize, &str)> = wrongs.iter().map(|(at, why)| (*at, why.as_str())).collect();
        let expected = [
            (3, "three"),
            (4, "Knarr's own"),
            (5, "Knarr's own"),
            (6, "letters"),
            (7, "read, operate, admin"),
            (8, "one role"),
            (9, "64 hex digits"),
            (10, "one token, one name"),
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for ((line, why), (at, part)) in told.iter().zip(expected) {
            assert!(*line == at && why.contains(part), "{line}: {why}");
        }
        let hex = anna.rsplit(' ').next().expect("three words");
        assert!(!format!("{told:?}").contains(hex));
        assert!(Tokens::read(&anna).is_ok());
    }
}
