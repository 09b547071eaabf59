//! Enough of Rust's grammar to see what a file names: comments, texts, and the paths in `use` lines and in code.
//! It is no compiler; what it cannot see, the compiler refuses anyway.

/// A Rust file, taken apart; every part keeps the line breaks of the whole, so that lines can be counted.
pub struct Taken {
    /// Without comments, and with empty texts.
    pub code: String,
    /// Texts with the line on which each begins.
    pub texts: Vec<(usize, String)>,
}

/// Takes a file apart.
pub fn take_apart(text: &str) -> Taken {
    let (mut code, mut texts, mut rest, mut line) = (String::new(), Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "")
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), "")
        } else if let Some((quote, length)) = text_at(rest, &code) {
            texts.push((line, rest[quote..length].to_owned()));
            (length, "\"\"")
        } else if let Some(length) = character_at(rest) {
            (length, "' '")
        } else {
            code.push(first);
            (first.len_utf8(), "")
        };
        if length > first.len_utf8() {
            code.push_str(kept);
            code.extend(rest[..length].matches('\n'));
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Taken { code, texts }
}

/// Where the content of a text that begins here starts, and how long all of it is.
fn text_at(rest: &str, before: &str) -> Option<(usize, usize)> {
    if let Some(inner) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inner.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return Some((1, end.map_or(rest.len(), |end| end + 2)));
    }
    let raw = rest
        .strip_prefix('r')
        .filter(|_| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let content = raw[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = content.find(&closing).map_or(content.len(), |end| end + closing.len());
    Some((hashes + 2, hashes + 2 + end))
}

/// The length of a character literal; a lifetime is none.
fn character_at(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let mut chars = inner.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        return inner[2..].find('\'').map(|end| end + 4);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 2)
}

/// A path as it is written, with the `use` trees spelt out: `crate::{a, b::c}` is two.
#[derive(Debug, PartialEq, Eq)]
pub struct Path {
    pub line: usize,
    pub parts: Vec<String>,
}

/// Every path of two parts or more in a file, with what `use` makes local told apart: a path that begins with a name
/// which this file got from its own crate is not the crate of that name.
pub fn paths(code: &str) -> Vec<Path> {
    let (mut used, mut plain) = (Vec::new(), String::new());
    let (mut rest, mut line) = (code, 1);
    while let Some(at) = find_word(rest, "use") {
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        plain.push_str(&rest[..at]);
        line += rest[..at].matches('\n').count();
        for parts in spelt_out(&rest[at + 3..end]) {
            used.push(Path { line, parts });
        }
        line += rest[at..end].matches('\n').count();
        plain.extend(rest[at..end].matches('\n'));
        rest = &rest[end..];
    }
    plain.push_str(rest);
    let inner = |path: &Path| ["crate", "self", "super"].contains(&path.parts[0].as_str());
    let mut local: Vec<String> = used
        .iter()
        .filter(|path| inner(path))
        .filter_map(|path| path.parts.last().cloned())
        .collect();
    local.extend(modules(code).map(str::to_owned));
    let mut all: Vec<Path> = used.into_iter().chain(inline(&plain)).collect();
    all.retain(|path| !local.contains(&path.parts[0]));
    all
}

/// The modules that a file declares.
pub fn modules(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let declared = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        declared.strip_prefix("mod ")?.strip_suffix(';')
    })
}

fn find_word(code: &str, word: &str) -> Option<usize> {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    code.match_indices(word).map(|(at, _)| at).find(|at| {
        edge(code[..*at].chars().next_back())
            && code[at + word.len()..].starts_with(char::is_whitespace)
    })
}

/// `a::{b, c::{d, self}}` → `a::b`, `a::c::d`, `a::c`.
fn spelt_out(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let tree = tree.split(" as ").next().filter(|_| !tree.contains('{')).unwrap_or(tree);
    let Some((stem, group)) = tree.split_once('{') else {
        let parts =
            tree.split("::").map(str::trim).filter(|part| !part.is_empty() && *part != "self");
        let mut parts: Vec<String> = parts.map(str::to_owned).collect();
        if tree.starts_with("self::") {
            parts.insert(0, "self".to_owned());
        }
        return if parts.is_empty() { Vec::new() } else { vec![parts] };
    };
    let stem: Vec<String> = stem
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let (mut depth, mut begin, mut branches) = (0, 0, Vec::new());
    let group = group.rsplit_once('}').map_or(group, |(inner, _)| inner);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&group[begin..]);
    let whole = |branch: &&str| branch.trim() == "self";
    let selves = branches.iter().filter(|branch| whole(branch)).map(|_| stem.clone());
    let others =
        branches.iter().filter(|branch| !whole(branch)).flat_map(|branch| spelt_out(branch));
    selves.chain(others.map(|parts| [stem.clone(), parts].concat())).collect()
}

/// Paths of two parts or more outside `use`.
fn inline(code: &str) -> Vec<Path> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
            let chain = &rest[at..];
            let length = chain
                .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                .unwrap_or(chain.len());
            let parts =
                chain[..length].split("::").filter(|part| !part.is_empty() && !part.contains(':'));
            let parts: Vec<String> = parts.map(str::to_owned).collect();
            if parts.len() > 1 && !rest[..at].ends_with("::") {
                found.push(Path { line: number + 1, parts });
            }
            rest = &chain[length..];
        }
    }
    found
}

#[test]
fn a_file_is_taken_apart_as_the_compiler_would() {
    let taken = take_apart(
        "let a = \"redis::x\"; // axum::y\nlet c = '\"'; let b: &'a str = r#\"now()\"#;\n",
    );
    assert_eq!(taken.code, "let a = \"\"; \nlet c = ' '; let b: &'a str = \"\";\n");
    assert_eq!(taken.texts.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2]);
    assert!(taken.texts[1].1.starts_with("now()"));

    let spelt = |code: &str| -> Vec<String> {
        paths(code).iter().map(|path| path.parts.join("::")).collect()
    };
    assert_eq!(spelt("use a::{b, c::{self, d as e}};\nuse f;"), ["a::b", "a::c", "a::c::d", "f"]);
    assert_eq!(
        spelt("use crate::redis; fn x() -> redis::A { axum::get::<sea_orm::B>() }").len(),
        3
    );
    assert!(spelt("mod redis;\nuse redis::{A, B};").is_empty());
}
