//! The users of `basic_auth_users`: bcrypt hashes of their passwords, and which passwords were found right.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use ring::hmac;

/// Passwords that are remembered to be right. A user has one, so there are never many; but bcrypt looks at the first 72
/// bytes alone, and what comes behind them can be anything.
const VERIFIED_MAX: usize = 100;
/// The costs of a hash that are taken: bcrypt's least, and one that takes a second or two.
pub(super) const COSTS: (u32, u32) = (4, 15);

/// Who may read the metrics, by name.
pub struct Users {
    hashes: BTreeMap<String, Hash>,
    key: hmac::Key,
    /// Keyed hashes of names with passwords that were checked and right.
    verified: Mutex<HashSet<[u8; 32]>>,
}

/// A bcrypt hash that can be checked against.
#[derive(Clone)]
pub(super) struct Hash(String);

/// A name and a password that somebody has sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: Vec<u8>,
}

impl Users {
    /// These users. The key is secret, and the same as long as the daemon runs.
    pub(super) fn new(hashes: BTreeMap<String, Hash>, key: hmac::Key) -> Self {
        Self { hashes, key, verified: Mutex::default() }
    }

    /// Whether nobody has to say who they are.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether this login was checked before, and is right. Takes no time.
    pub fn is_verified(&self, login: &Login) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.contains(&self.digest(login))
    }

    /// Checks a login, which takes as long as bcrypt is meant to take, also if there is no such user.
    pub fn check(&self, login: &Login) -> bool {
        let known = self.hashes.get(&login.user);
        // Whose hash a stranger is checked against depends on the name: with hashes of different costs, time does not
        // tell who exists.
        let Some(hash) = known.or_else(|| self.decoy(&login.user)) else { return false };
        let is_right = bcrypt::verify(&login.password, &hash.0).unwrap_or(false) && known.is_some();
        if is_right {
            let digest = self.digest(login);
            let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            if verified.len() >= VERIFIED_MAX {
                verified.clear();
            }
            verified.insert(digest);
        }
        is_right
    }

    fn decoy(&self, name: &str) -> Option<&Hash> {
        let [a, b, c, d, ..] = self.sign(&[name.as_bytes()]);
        let number = u32::from_be_bytes([a, b, c, d]) as usize;
        self.hashes.values().nth(number.checked_rem(self.hashes.len())?)
    }

    fn digest(&self, Login { user, password }: &Login) -> [u8; 32] {
        self.sign(&[user.as_bytes(), password])
    }

    /// Signs some texts together; each is told by its length from the next.
    fn sign(&self, texts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for text in texts {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text);
        }
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        digest
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.hashes.keys()).finish()
    }
}

impl FromStr for Hash {
    type Err = String;

    /// # Errors
    /// What is wrong with it; the hash itself is not told.
    fn from_str(text: &str) -> Result<Self, String> {
        const MAKE: &str = "`htpasswd -nBC 10 NAME` makes one";
        let parts = HashParts::from_str(text).map_err(|_with_the_hash| {
            format!("this is no bcrypt hash, as $2y$10$ and 53 characters; {MAKE}")
        })?;
        let (least, most) = COSTS;
        let cost = parts.get_cost();
        if !(least..=most).contains(&cost) {
            return Err(format!(
                "a bcrypt hash of cost {cost} cannot be taken, only those from {least} to {most}, of which each costs twice as \
                 much time as the one before; {MAKE}"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

impl Login {
    /// Reads the value of an `Authorization` header (RFC 7617, section 2); `None` if it is of another kind.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked("Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let decoded = BASE64_STANDARD.decode(rest.trim_ascii()).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (user, password) = decoded.split_at_checked(colon)?;
        Some(Self { user: str::from_utf8(user).ok()?.to_owned(), password: password.get(1..)?.to_vec() })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// bcrypt of "secret" with cost 4, by libxcrypt.
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    fn users(names: &[&str]) -> Users {
        let hash: Hash = HASH.parse().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"of a test");
        Users::new(names.iter().map(|name| ((*name).to_owned(), hash.clone())).collect(), key)
    }

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.to_owned(), password: password.into() }
    }

    #[test]
    fn a_right_password_is_remembered_and_no_other() {
        let users = users(&["alice", "bob"]);
        let right = login("alice", "secret");
        assert!(!users.is_verified(&right));
        assert!(users.check(&right));
        assert!(users.is_verified(&right));
        // The password of somebody is not that of nobody, of somebody else, or half of the name.
        for (name, password) in
            [("alice", "Secret"), ("mallory", "secret"), ("", "secret"), ("alic", "esecret"), ("bob", "")]
        {
            let wrong = login(name, password);
            assert!(!users.check(&wrong), "{name}");
            assert!(!users.is_verified(&wrong), "{name}");
        }
        assert!(!users.is_verified(&login("bob", "secret")), "checked for alice alone");
    }

    #[test]
    fn no_more_passwords_are_remembered_than_there_is_room_for() {
        let long = "x".repeat(72);
        let hash = bcrypt::hash_with_salt(&long, 4, [7; 16]).unwrap().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"of a test");
        let users = Users::new([("alice".to_owned(), hash.parse().unwrap())].into(), key);
        for number in 0..=VERIFIED_MAX {
            assert!(users.check(&login("alice", &format!("{long}{number}"))));
        }
        assert!(users.verified.lock().unwrap().len() <= VERIFIED_MAX);
    }

    #[test]
    fn strangers_are_checked_against_any_of_the_hashes_and_each_always_against_the_same() {
        let users = users(&["a", "b", "c"]);
        let decoys = |name: &str| std::ptr::from_ref(users.decoy(name).unwrap());
        let all: HashSet<_> = (0..100).map(|number| decoys(&number.to_string())).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(decoys("mallory"), decoys("mallory"));
    }

    #[test]
    fn a_hash_that_cannot_be_checked_says_so_without_telling_it() {
        for (hash, said) in [
            ("", "no bcrypt hash"),
            ("secret", "no bcrypt hash"),
            ("$1$abcdefgh$abcdefghijklmnopqrstuv", "no bcrypt hash"),
            ("$2b$04$abcdefghijklmnopqrstuu", "no bcrypt hash"),
            ("$2b$aa$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "no bcrypt hash"),
            ("$2b$03$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "cost 3"),
            ("$2b$16$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "cost 16"),
        ] {
            let why = hash.parse::<Hash>().unwrap_err();
            assert!(why.contains(said) && why.contains("htpasswd"), "{hash}: {why}");
            assert!(hash.is_empty() || !why.contains(hash), "{why}");
        }
    }

    #[test]
    fn logins_are_read_as_they_are_written() {
        let read = |value: &str| Login::from_header(value.as_bytes());
        assert_eq!(read("Basic YWxpY2U6c2VjcmV0"), Some(login("alice", "secret")));
        assert_eq!(read("bASIC  YWxpY2U6c2VjcmV0 "), Some(login("alice", "secret")));
        assert_eq!(read("Basic YWxpY2U6OnNlOmNyZXQ="), Some(login("alice", ":se:cret")));
        assert_eq!(read("Basic Og=="), Some(login("", "")));
        for wrong in
            ["", "Basic", "Basic ", "Basic YWxpY2U=", "Basic =", "Bearer YWxpY2U6c2VjcmV0", "Basic /////zpz"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(!format!("{:?}", login("alice", "secret")).contains("secret"));
    }
}
