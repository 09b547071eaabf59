//! What the pages are made of: templates, words and files, from the binary or from a folder of the operator's. What they
//! show is looked up in `http.rs`.

pub mod http;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment};
use rust_embed::Embed;
use serde_json::{Value, json};
use url::{Position, Url};

use crate::config::PagesConfig;
use crate::error::Error;
use crate::http::page::Page;

/// Every page speaks it; a word that another language lacks is told in it.
const LANGUAGE_DEFAULT: &str = "en";
/// Stands for our own address: what stays on it after a browser has read it leads to us.
const OURS: &str = "https://usher.invalid/";

#[derive(Embed)]
#[folder = "web"]
struct Web;

/// Pages, ready to be filled.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    /// By language, in the order of their codes.
    words: BTreeMap<String, Value>,
    files: HashMap<String, Page>,
    config: PagesConfig,
}

impl Pages {
    /// Reads everything once: a template that does not parse, or words that are no JSON, keep the server from starting.
    pub fn new(config: &PagesConfig) -> Result<Self, Error> {
        let mut web: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for name in Web::iter() {
            web.extend(Web::get(&name).map(|file| (name.to_string(), bare(&name, &file.data))));
        }
        if let Some(dir) = &config.dir {
            for name in names(dir, "").map_err(|error| wrong(&dir.display().to_string(), error))? {
                let file = std::fs::read(dir.join(&name)).map_err(|error| wrong(&name, error))?;
                web.insert(name, file);
            }
        }
        let mut pages = Self {
            templates: Environment::new(),
            words: BTreeMap::new(),
            files: HashMap::new(),
            config: config.clone(),
        };
        let mut addresses = BTreeMap::new();
        for (name, bytes) in web {
            if let Some(lang) = name.strip_prefix("lang/").and_then(|n| n.strip_suffix(".json")) {
                let words = serde_json::from_slice(&bytes).map_err(|error| wrong(&name, error))?;
                pages.words.insert(lang.to_owned(), words);
            } else if name.ends_with(".html") {
                let template = String::from_utf8(bytes).map_err(|error| wrong(&name, error))?;
                let added = pages.templates.add_template_owned(name.clone(), template);
                added.map_err(|error| wrong(&name, error))?;
            } else if let Some(kind) = kind(&name) {
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                addresses.insert(name.clone(), format!("/assets/{name}?v={:x}", hasher.finish()));
                pages.files.insert(name, Page::file(bytes, kind));
            }
        }
        pages.furnish(addresses);
        Ok(pages)
    }

    fn furnish(&mut self, addresses: BTreeMap<String, String>) {
        let complete = self.words.get(LANGUAGE_DEFAULT).cloned().unwrap_or_default();
        self.words.values_mut().for_each(|words| complete_by(words, &complete));
        self.templates.set_auto_escape_callback(|_| AutoEscape::Html);
        self.templates.add_filter("asset", move |name: String| {
            let address = addresses.get(&name).cloned().unwrap_or_default();
            minijinja::Value::from_safe_string(address)
        });
        self.templates.add_filter("fill", |text: String, values: Kwargs| {
            let mut filled = text;
            for name in values.args() {
                let value: minijinja::Value = values.get(name)?;
                filled = filled.replace(&format!("{{{name}}}"), &value.to_string());
            }
            Ok::<_, minijinja::Error>(filled)
        });
    }

    /// A page, filled.
    pub fn render(&self, page: &str, lang: &str, mut values: Value) -> Result<String, Error> {
        values["lang"] = lang.into();
        values["words"] = self.words.get(lang).cloned().unwrap_or_default();
        values["currency"] = self.config.currency.as_str().into();
        let template = self.templates.get_template(page);
        let filled =
            template.and_then(|template| template.render(minijinja::Value::from(Serde(&values))));
        filled.map_err(|error| wrong(page, error))
    }

    pub fn file(&self, name: &str) -> Option<&Page> {
        self.files.get(name)
    }

    /// The language that somebody asks for, else the first that his browser prefers and we speak.
    pub fn language<'a>(
        &'a self,
        asked: Option<&str>,
        preferred: impl Iterator<Item = &'a str>,
    ) -> &'a str {
        let spoken = |tag: &str| {
            let lang = tag.split(['-', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
            self.words.get_key_value(&lang).map(|(lang, _)| lang.as_str())
        };
        let asked = asked.and_then(spoken);
        asked.or_else(|| preferred.into_iter().find_map(spoken)).unwrap_or(LANGUAGE_DEFAULT)
    }

    /// The same address in every language.
    pub fn languages(&self, address: &str) -> Vec<Value> {
        let in_language = |lang: &str| {
            let mut url = ours(address)?;
            let pairs = url
                .query_pairs()
                .filter(|(name, _)| name != "lang")
                .map(|(name, value)| (name.into_owned(), value.into_owned()));
            let pairs: Vec<(String, String)> = pairs.collect();
            url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("lang", lang);
            Some(behind_host(&url))
        };
        let languages = self.words.iter();
        languages
            .map(|(lang, words)| json!({"lang": lang, "name": words["name"], "href": in_language(lang)}))
            .collect()
    }

    /// Where a person goes on, as a browser will read it: a path of ours, or an address on the operator's list.
    pub fn target(&self, wanted: &str) -> Option<String> {
        let url = ours(wanted)?;
        let origin = url.origin().ascii_serialization();
        if origin == OURS.trim_end_matches('/') {
            return Some(behind_host(&url));
        }
        self.config.targets.contains(&origin).then(|| url.to_string())
    }
}

/// A file of ours as browsers need it. Indents, and lines that are nothing but comment, are for whoever reads the sources,
/// and up to a quarter of what a script weighs, packed; a notice (`/*!`) stays.
fn bare(name: &str, bytes: &[u8]) -> Vec<u8> {
    if !name.ends_with(".js") && !name.ends_with(".css") {
        return bytes.to_vec();
    }
    let mut within = false;
    let is_code = |line: &&[u8]| {
        let line = line.trim_ascii();
        within |= line.starts_with(b"/*") && !line.starts_with(b"/*!");
        let comment = within || line.starts_with(b"//");
        within &= !line.ends_with(b"*/");
        !comment
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(is_code);
    lines.map(<[u8]>::trim_ascii_start).collect::<Vec<_>>().concat()
}

/// An address as a browser on one of our pages reads it.
fn ours(address: &str) -> Option<Url> {
    Url::parse(OURS).ok()?.join(address).ok()
}

fn behind_host(url: &Url) -> String {
    url[Position::BeforePath..].to_owned()
}

/// Gives `words` what only `others` have.
fn complete_by(words: &mut Value, others: &Value) {
    if let (Value::Object(words), Value::Object(others)) = (words, others) {
        for (name, other) in others {
            complete_by(words.entry(name).or_insert_with(|| other.clone()), other);
        }
    }
}

fn kind(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "png" => Some("image/png"),
        "woff2" => Some("font/woff2"),
        _ => None,
    }
}

/// Every file below a folder, by its path from there.
fn names(dir: &Path, below: &str) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            names.extend(self::names(dir, &format!("{name}/"))?);
        } else {
            names.push(name);
        }
    }
    Ok(names)
}

fn wrong(name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Internal {
        context: "a page cannot be made",
        source: format!("{name}: {}", error.into()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn comments_are_for_whoever_reads_the_sources() {
        let script = b"/*! A notice */\n// Why\n'use strict';\n  /** What\n   * it does. */\n\n  let a = 1; // here\n";
        let sent = bare("a.js", script);
        assert_eq!(sent, b"/*! A notice */\n'use strict';\nlet a = 1; // here\n");
        assert_eq!(bare("a.css", b"/* One. */\na { b: c; }\n"), b"a { b: c; }\n");
        assert_eq!(bare("a.svg", b"// A picture\n"), b"// A picture\n");
    }
}
