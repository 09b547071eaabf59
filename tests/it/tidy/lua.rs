//! The triangle: a script in `lua/`, its binding in Rust and its test have one name, and what the script's header says
//! is what its body and its binding do. What scripts do to keys is tested in `tests/it/lua/`.

use std::collections::BTreeSet;

use super::rust::take_apart;
use super::{Breaches, Source, read, sources, words};

const BODY_LINES_MAX: usize = 60;
/// Scripts that make the state agree with what SQL has closed: they run when Redis is out of memory.
const GIVE_BACK: [&str; 4] = ["admit_commit", "leave", "release", "settle"];
/// Commands that change a key.
const WRITES: [&str; 14] = [
    "SET",
    "DEL",
    "UNLINK",
    "INCR",
    "INCRBY",
    "HSET",
    "HDEL",
    "HINCRBY",
    "HINCRBYFLOAT",
    "ZADD",
    "ZREM",
    "ZPOPMIN",
    "ZREMRANGEBYSCORE",
    "RENAME",
];
/// What a body never says, and why.
const NEVER: [(&str, &str); 8] = [
    ("'TIME'", "time comes in ARGV"),
    ("tostring", "prints 14 digits: wrong from epoch 91 on"),
    ("pcall", "a failing call stops the script"),
    ("cjson", "replies are words, then values"),
    ("SCAN", "loops are bounded by an argument"),
    ("'KEYS'", "loops are bounded by an argument"),
    ("math.random", "chance comes in ARGV"),
    ("EXPIRE", "rows in SQL say when something is over"),
];

/// One script, read as its header is laid out.
struct Script {
    source: Source,
    flags: Vec<String>,
    keys: Vec<String>,
    arguments: usize,
    takes_rest: bool,
    replies: BTreeSet<String>,
    fields: Vec<(String, String)>,
    /// The lines that name keys and arguments, and all that follow.
    names: String,
    work: String,
    body_lines: usize,
}

impl Script {
    fn read(source: Source, breaches: &mut Breaches) -> Option<Script> {
        let Some((top, body)) = source.text.split_once("\n]]\n") else {
            breaches.add(&source.path, "has no header that ends in `]]` on a line of its own");
            return None;
        };
        let mut lines = top.lines();
        let first = lines.next().unwrap_or_default();
        breaches.unless(
            first.starts_with("#!lua"),
            &source.path,
            "opens with `#!lua` and its flags",
        );
        let title = lines.next().unwrap_or_default();
        let named = title.starts_with(&format!("--[[ {}: ", source.stem())) && title.ends_with('.');
        breaches.unless(
            named,
            &source.path,
            "the header opens with the file's name and one sentence",
        );
        let fields = fields(lines);
        let keys = numbered(&fields, "KEYS");
        let arguments = numbered(&fields, "ARGV");
        for (about, list) in [("KEYS", &keys), ("ARGV", &arguments)] {
            let number = |entry: &[String]| entry[0].trim_end_matches("..").parse().unwrap_or(0);
            let in_order = list.iter().enumerate().all(|(at, entry)| number(entry) == at + 1);
            breaches.unless(in_order, &source.path, format!("{about} are numbered from 1"));
        }
        for key in &keys {
            let kinds = ["string", "hash", "zset"];
            let typed = key.get(2).is_some_and(|kind| kinds.contains(&kind.as_str()));
            breaches.unless(typed, &source.path, format!("key {} has no type", key[0]));
        }
        let (names, work) = body.split_once("\n\n").unwrap_or((body, ""));
        let flags = first.split("flags=").nth(1).into_iter().flat_map(|flags| flags.split(','));
        let replies = fields.iter().filter(|(field, _)| field == "Reply");
        Some(Script {
            flags: flags.map(str::to_owned).collect(),
            keys: keys.iter().filter_map(|key| key.get(1).cloned()).collect(),
            arguments: arguments.iter().filter(|entry| !entry[0].ends_with("..")).count(),
            takes_rest: arguments.last().is_some_and(|entry| entry[0].ends_with("..")),
            replies: replies.flat_map(|(_, text)| first_words(text)).collect(),
            names: names.to_owned(),
            work: work.to_owned(),
            body_lines: body.lines().count(),
            fields,
            source,
        })
    }

    fn folder(&self) -> &str {
        self.source.path.split('/').nth(1).unwrap_or_default()
    }
}

/// `KEYS  1 …` and the lines below it that are indented: one field per numbered entry, or one of several lines.
fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let (head, text) = if line.starts_with(' ') {
            ("", line)
        } else {
            line.split_once(' ').unwrap_or((line, ""))
        };
        let text = text.trim();
        let last = fields.last().map(|(name, _)| name.clone()).unwrap_or_default();
        let numbered = text.starts_with(|c: char| c.is_ascii_digit())
            && ["KEYS", "ARGV"].contains(&last.as_str());
        match fields.last_mut() {
            _ if !head.is_empty() => fields.push((head.to_owned(), text.to_owned())),
            _ if numbered => fields.push((last, text.to_owned())),
            Some((_, whole)) => *whole = format!("{whole} {text}"),
            None => {}
        }
    }
    fields
}

/// The entries of KEYS or ARGV, in words.
fn numbered(fields: &[(String, String)], name: &str) -> Vec<Vec<String>> {
    let entries = fields.iter().filter(|(field, _)| field == name);
    entries.map(|(_, text)| text.split_whitespace().map(str::to_owned).collect()).collect()
}

/// `{"NEW", number} | {"FULL"}` → NEW, FULL.
fn first_words(reply: &str) -> Vec<String> {
    let begins = reply.split("{\"").skip(1);
    begins.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

fn scripts(breaches: &mut Breaches) -> Vec<Script> {
    let scripts: Vec<Script> = sources(&["lua"], ".lua")
        .into_iter()
        .filter_map(|file| Script::read(file, breaches))
        .collect();
    assert!(
        scripts.len() >= 10,
        "only {} scripts were found: this test reads the wrong folder",
        scripts.len()
    );
    scripts
}

#[test]
fn a_header_says_what_the_body_does() {
    let mut breaches = Breaches::default();
    for script in scripts(&mut breaches) {
        let place = &script.source.path;
        for name in ["KEYS", "ARGV", "Reply", "Cost", "Why"] {
            let found = script.fields.iter().any(|(field, text)| field == name && !text.is_empty());
            breaches.unless(found, place, format!("the header has no {name}"));
        }
        let count = |array: &str, text: &str| -> BTreeSet<usize> {
            text.split(&format!("{array}["))
                .skip(1)
                .filter_map(|rest| rest.split(']').next()?.parse().ok())
                .collect()
        };
        let first = |n: usize| (1..=n).collect::<BTreeSet<_>>();
        breaches.unless(
            count("KEYS", &script.names) == first(script.keys.len()),
            place,
            "KEYS differ from the header's",
        );
        breaches.unless(
            count("ARGV", &script.names) == first(script.arguments),
            place,
            "ARGV differ from the header's",
        );
        let keys = format!("local {} =", script.keys.join(", "));
        breaches.unless(script.names.starts_with(&keys), place, format!("begins with `{keys}`"));
        breaches.unless(!script.work.contains("KEYS["), place, "keys are named once, at the top");
        breaches.unless(
            count("ARGV", &script.work).is_empty(),
            place,
            "arguments are named once, at the top",
        );
        breaches.unless(
            script.takes_rest == script.work.contains("ARGV["),
            place,
            "takes more ARGV than the header says, or fewer",
        );
        let said: BTreeSet<String> = script
            .work
            .split("{ '")
            .skip(1)
            .filter_map(|rest| rest.split('\'').next())
            .map(str::to_owned)
            .filter(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            .collect();
        breaches.unless(
            said == script.replies,
            place,
            format!("replies {said:?}, the header says {:?}", script.replies),
        );
        let fenced = script.keys.first().is_some_and(|key| key == "generation")
            && script.replies.contains("STALE");
        breaches.unless(
            fenced,
            place,
            "begins with the generation, and says STALE when it is another",
        );
    }
    breaches.none();
}

#[test]
fn a_script_is_short_and_leaves_time_and_chance_to_its_caller() {
    let mut breaches = Breaches::default();
    for script in scripts(&mut breaches) {
        let place = &script.source.path;
        breaches.unless(
            script.body_lines <= BODY_LINES_MAX,
            place,
            format!("{} lines, at most {BODY_LINES_MAX}", script.body_lines),
        );
        for (word, why) in NEVER {
            let found = script.work.contains(word) || script.names.contains(word);
            breaches.unless(!found, place, format!("{word}: {why}"));
        }
    }
    breaches.none();
}

#[test]
fn flags_say_who_may_write_and_who_may_always() {
    let mut breaches = Breaches::default();
    for script in scripts(&mut breaches) {
        let writes = words(&script.work).any(|word| WRITES.contains(&word));
        let wanted: &[&str] = match (writes, GIVE_BACK.contains(&script.source.stem())) {
            (false, _) => &["no-writes"],
            (true, true) => &["allow-oom"],
            (true, false) => &[],
        };
        breaches.unless(
            script.flags == wanted,
            &script.source.path,
            format!("its flags are {wanted:?}"),
        );
    }
    breaches.none();
}

/// `JOIN: 5 keys, 5 args, "queue/join";`
fn bindings() -> Vec<(String, usize, usize, String)> {
    let text = read("src/redis/script.rs").text;
    let line = |line: &str| {
        let (constant, rest) = line.trim().split_once(": ")?;
        let (keys, rest) = rest.split_once(" keys, ")?;
        let (arguments, file) = rest.split_once(" args, ")?;
        Some((
            constant.to_owned(),
            keys.parse().ok()?,
            arguments.parse().ok()?,
            file.trim_matches(['"', ';']).to_owned(),
        ))
    };
    text.lines().filter_map(line).collect()
}

/// The function of this name: from its signature to the brace that closes it at the same depth.
fn function<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    let begin = code.find(&format!("fn {name}("))?;
    let end = code[begin..].find("\n    }\n").map_or(code.len(), |end| begin + end);
    Some(&code[begin..end])
}

/// The texts left of `=>`.
fn arms(function: &str) -> BTreeSet<String> {
    let left =
        function.lines().filter_map(|line| line.split_once("=>")).map(|(left, _)| left.trim());
    let texts = left.filter(|left| left.starts_with('"')).flat_map(|left| left.split('|'));
    texts.map(|text| text.trim().trim_matches('"').to_owned()).collect()
}

#[test]
fn a_script_its_binding_and_its_test_agree() {
    let mut breaches = Breaches::default();
    let scripts = scripts(&mut breaches);
    let bindings = bindings();
    for script in &scripts {
        let (place, name) = (&script.source.path, script.source.stem());
        let file = format!("{}/{name}", script.folder());
        let binding = bindings
            .iter()
            .find(|(constant, .., bound)| *bound == file && *constant == name.to_uppercase());
        let counts = binding.map(|(_, keys, arguments, _)| (*keys, *arguments));
        let wanted = Some((script.keys.len(), script.arguments));
        breaches.unless(
            counts == wanted,
            place,
            format!("src/redis/script.rs binds {counts:?}, the header says {wanted:?}"),
        );

        let feature = format!("src/{}", script.folder());
        let callers = sources(&[&feature], ".rs");
        let mut callers = callers.iter().filter(|source| source.path.contains("/redis"));
        let found = callers.find_map(|caller| Some((caller, function(&caller.text, name)?)));
        let Some((caller, decoder)) = found else {
            breaches.add(place, format!("{feature}/redis has no function `{name}`"));
            continue;
        };
        let calls = words(&take_apart(decoder).code).any(|word| word == name.to_uppercase());
        breaches.unless(calls, place, format!("`{name}` in {} calls another script", caller.path));
        let decoded = arms(decoder);
        breaches.unless(
            decoded == script.replies,
            place,
            format!("{} decodes {decoded:?}, not {:?}", caller.path, script.replies),
        );
        breaches.unless(
            decoder.contains("reply.unknown("),
            place,
            format!("{} lets an unknown word pass", caller.path),
        );
    }
    let bound: BTreeSet<String> =
        bindings.into_iter().map(|(.., file)| format!("lua/{file}.lua")).collect();
    let written: BTreeSet<String> =
        scripts.iter().map(|script| script.source.path.clone()).collect();
    for stray in bound.symmetric_difference(&written) {
        breaches.add(stray, "a binding without a script, or a script without a binding");
    }
    breaches.none();
}

#[test]
fn every_script_has_a_line_in_the_readme() {
    let mut breaches = Breaches::default();
    let names: BTreeSet<String> =
        scripts(&mut breaches).iter().map(|script| script.source.stem().to_owned()).collect();
    let readme = read("lua/README.md").text;
    for name in names {
        breaches.unless(
            readme.contains(&format!("`{name}`")),
            "lua/README.md",
            format!("does not speak of `{name}`"),
        );
    }
    breaches.none();
}
