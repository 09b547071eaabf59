//! Lua scripts, bound to Rust so that a missing argument does not compile. The texts stand in `lua/`, are compiled in,
//! and are loaded on every new connection, so that a syntax error stops the start and not a buyer.

use std::fmt::Write as _;
use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use super::{Connection, Redis};
use crate::error::Error;
use crate::telemetry::spans;

/// One atomic operation: a text in `lua/`, its keys and its fixed arguments counted.
pub struct Script<const KEYS: usize, const ARGS: usize> {
    pub name: &'static str,
    script: LazyLock<redis::Script>,
}

/// An argument, written as Lua reads it.
pub struct Arg(String);

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl From<f64> for Arg {
    fn from(number: f64) -> Self {
        Self(number.to_string())
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<const KEYS: usize, const ARGS: usize> Script<KEYS, ARGS> {
    /// Binds a text; a tidy test holds its header against these counts.
    pub const fn new(name: &'static str, script: fn() -> redis::Script) -> Self {
        Self { name, script: LazyLock::new(script) }
    }

    /// Runs it. `rest` are arguments beyond the fixed ones: lists whose length an argument or the policy bounds.
    pub async fn call(
        &self,
        (redis, connection): (&Redis, &Connection),
        keys: [&str; KEYS],
        args: [Arg; ARGS],
        rest: impl IntoIterator<Item = Arg>,
    ) -> Result<Reply, Error> {
        let mut invocation = self.script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for Arg(text) in args.into_iter().chain(rest) {
            invocation.arg(text);
        }
        let mut shared = connection.shared.clone();
        let call = redis.within_deadline(invocation.invoke_async(&mut shared));
        let words: Vec<String> = spans::within(spans::script(self.name), call).await?;
        Ok(Reply { script: self.name, words: words.into_iter() })
    }
}

/// What a script answered: a word, then values.
pub struct Reply {
    script: &'static str,
    words: std::vec::IntoIter<String>,
}

impl Reply {
    /// The next word or text.
    pub fn text(&mut self) -> Result<String, Error> {
        self.words.next().ok_or_else(|| self.unknown("a shorter reply than its header says"))
    }

    /// The next value as a whole number.
    pub fn int(&mut self) -> Result<i64, Error> {
        let text = self.text()?;
        text.parse().map_err(|_| self.unknown(&text))
    }

    /// A list: its length, then as many pairs of whole numbers.
    pub fn pairs(&mut self) -> Result<Vec<(i64, i64)>, Error> {
        let pairs = self.int()?;
        if pairs < 0 {
            return Err(self.unknown("fewer pairs than none"));
        }
        (0..pairs).map(|_| Ok((self.int()?, self.int()?))).collect()
    }

    /// The next text, if there is one: for lists that go on to the end.
    pub fn more(&mut self) -> Option<String> {
        self.words.next()
    }

    /// A word that is not in the script's header.
    pub fn unknown(&self, word: &str) -> Error {
        let mut what = format!("{} answered ", self.script);
        // Writing to a String cannot fail.
        let _ = write!(what, "{word:?}");
        Error::Internal {
            context: "a script answered what its header does not say",
            source: what.into(),
        }
    }
}

macro_rules! scripts {
    ($($constant:ident: $keys:literal keys, $args:literal args, $file:literal;)*) => {
        $(pub static $constant: Script<$keys, $args> =
            Script::new($file, || redis::Script::new(include_str!(concat!("../../lua/", $file, ".lua"))));)*

        /// Loads every script on a fresh connection.
        pub(super) async fn preload(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
            $(load(connection, include_str!(concat!("../../lua/", $file, ".lua"))).await?;)*
            Ok(())
        }
    };
}

scripts! {
    OPEN: 1 keys, 1 args, "queue/open";
    JOIN: 5 keys, 4 args, "queue/join";
    PLACE: 5 keys, 4 args, "queue/place";
    DISOWN: 2 keys, 3 args, "queue/disown";
    LEAVE: 7 keys, 3 args, "queue/leave";
    WATCH: 5 keys, 1 args, "queue/watch";
    ENTER: 5 keys, 2 args, "queue/enter";
    ADMIT_RESERVE: 6 keys, 10 args, "queue/admit_reserve";
    ADMIT_COMMIT: 5 keys, 7 args, "queue/admit_commit";
    DRAW_ANNOUNCE: 3 keys, 1 args, "queue/draw_announce";
    DRAW_JOIN: 4 keys, 6 args, "queue/draw_join";
    DRAW_OPEN: 3 keys, 1 args, "queue/draw_open";
    REBUILD_BEGIN: 6 keys, 1 args, "queue/rebuild_begin";
    REBUILD_FILL: 5 keys, 3 args, "queue/rebuild_fill";
    REBUILD_PUBLISH: 2 keys, 6 args, "queue/rebuild_publish";
    REBUILD_RESUME: 2 keys, 3 args, "queue/rebuild_resume";
    HOLD: 3 keys, 5 args, "booking/hold";
    RELEASE: 2 keys, 2 args, "booking/release";
    SETTLE: 2 keys, 1 args, "booking/settle";
}

async fn load(connection: &mut MultiplexedConnection, text: &str) -> Result<(), RedisError> {
    Cmd::new().arg("SCRIPT").arg("LOAD").arg(text).query_async::<String>(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(words: &[String]) -> Reply {
        let words: Vec<String> = words.into();
        Reply { script: "test", words: words.into_iter() }
    }

    proptest! {
        #[test]
        fn pairs_come_back_as_a_script_writes_them(pairs in proptest::collection::vec(any::<(i64, i64)>(), 0..20), more in "\\PC{0,8}") {
            let numbers = pairs.iter().flat_map(|(one, other)| [*one, *other]);
            let words = std::iter::once(pairs.len() as i64).chain(numbers).map(|number| number.to_string());
            let words: Vec<String> = words.chain([more.clone()]).collect();
            let mut whole = reply(&words);
            prop_assert_eq!(whole.pairs().unwrap(), pairs);
            prop_assert_eq!((whole.more(), whole.more()), (Some(more), None));
            for length in 0..words.len() - 1 {
                prop_assert!(reply(&words[..length]).pairs().is_err(), "{length} words of {}", words.len());
            }
        }

        #[test]
        fn whatever_is_answered_is_read_or_a_bug_of_ours(words in proptest::collection::vec("-?[0-9]{0,21}|\\PC{0,8}", 0..6)) {
            let plain = |word: &String| word.parse::<i64>().ok();
            let mut read = reply(&words);
            for word in &words {
                prop_assert_eq!(read.int().ok(), plain(word));
            }
            prop_assert_eq!(read.text().unwrap_err().code(), crate::error::Code::Internal);
            let pairs = reply(&words).pairs();
            let announced = words.first().and_then(plain);
            prop_assert!(pairs.is_err() || announced.is_some_and(|pairs| 2 * pairs < words.len() as i64 && pairs >= 0));
        }
    }
}
