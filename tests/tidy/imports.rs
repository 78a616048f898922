//! The imports of a crate's files, read off their text.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::{is_test, product};

/// References from one name to another that are followed.
const DEPTH_MAX: u32 = 16;

/// A module: a file's, or one that stands in a file.
#[derive(Default)]
struct Module {
    file: PathBuf,
    /// Names of the items that are defined here.
    items: HashSet<String>,
    imports: Vec<Import>,
    /// Paths in the code.
    paths: Vec<Vec<String>>,
    /// Names in the code, without paths.
    words: HashSet<String>,
}

struct Import {
    path: Vec<String>,
    /// The name here; `*` for all names there.
    name: String,
    is_reexport: bool,
}

/// The modules of a crate, by their paths.
pub struct Modules(BTreeMap<Vec<String>, Module>);

enum Found {
    Module(Vec<String>),
    Item(PathBuf),
}

impl Modules {
    /// Reads the files of a crate, given with their texts. Their paths begin with `root`.
    pub fn read(root: &Path, files: &[(PathBuf, String)]) -> Self {
        let mut modules = Self(BTreeMap::new());
        for (path, text) in files.iter().filter(|(path, _)| !is_test(path)) {
            let Ok(below) = path.strip_prefix(root) else { continue };
            let parts = below.with_extension("");
            let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
            let module: Vec<_> = parts.filter(|part| !["lib", "main"].contains(&part.as_str())).collect();
            modules.add(path, &module, &tokens(product(text)));
        }
        modules
    }

    fn add(&mut self, file: &Path, module: &[String], tokens: &[Token]) {
        let mut reader =
            Reader { modules: self, file, module: module.to_vec(), depth: 0, opened: Vec::new() };
        reader.enter();
        let mut at = 0;
        while at < tokens.len() {
            at = reader.take(tokens, at);
        }
    }

    /// For each file, those that define what it names.
    pub fn imports(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut all: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (name, module) in &self.0 {
            let is_used = |import: &&Import| !import.is_reexport || module.words.contains(&import.name);
            let imports = module.imports.iter().filter(is_used).map(|import| &import.path);
            let imported = all.entry(module.file.clone()).or_default();
            for path in imports.chain(&module.paths) {
                if let Some(Found::Item(file)) = self.resolve(name, path, 0) {
                    imported.insert(file);
                }
            }
            imported.remove(&module.file);
        }
        all
    }

    /// All paths that are named.
    pub fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.0.values().flat_map(|module| {
            let imports = module.imports.iter().map(|import| &import.path[..]);
            imports.chain(module.paths.iter().map(Vec::as_slice))
        })
    }

    /// True if this path from the crate's root names a module or an item.
    pub fn has(&self, path: &[String]) -> bool {
        self.resolve(&[], path, 0).is_some()
    }

    /// Follows a path that stands in this module.
    fn resolve(&self, module: &[String], path: &[String], depth: u32) -> Option<Found> {
        let mut at = module.to_vec();
        for (number, name) in path.iter().enumerate() {
            match (name.as_str(), number) {
                ("crate", 0) => at.clear(),
                ("self", _) => {}
                ("super", _) => _ = at.pop(),
                _ => match self.look_up(&at, name, depth)? {
                    Found::Module(found) => at = found,
                    item @ Found::Item(_) => return Some(item),
                },
            }
        }
        Some(Found::Module(at))
    }

    fn look_up(&self, module: &[String], name: &str, depth: u32) -> Option<Found> {
        let below = [module, &[name.to_owned()]].concat();
        if self.0.contains_key(&below) {
            return Some(Found::Module(below));
        }
        let here = self.0.get(module).filter(|_| depth < DEPTH_MAX)?;
        if here.items.contains(name) {
            return Some(Found::Item(here.file.clone()));
        }
        let named = here.imports.iter().filter(|import| import.name == name && import.path != [name]);
        let named = named.map(|import| import.path.clone());
        let all = here.imports.iter().filter(|import| import.name == "*");
        let all = all.map(|import| [&import.path[..], &[name.to_owned()]].concat());
        named.chain(all).find_map(|path| self.resolve(module, &path, depth + 1))
    }
}

/// Reads a file's tokens into the modules that stand in it.
struct Reader<'m> {
    modules: &'m mut Modules,
    file: &'m Path,
    module: Vec<String>,
    /// Braces that are open.
    depth: usize,
    /// Depths at which the modules around the current one are gone on with.
    opened: Vec<usize>,
}

impl Reader<'_> {
    fn enter(&mut self) {
        let module = self.modules.0.entry(self.module.clone()).or_default();
        module.file = self.file.to_owned();
    }

    fn here(&mut self) -> &mut Module {
        self.modules.0.entry(self.module.clone()).or_default()
    }

    /// Takes what stands at `at`; gives the place behind it.
    fn take(&mut self, tokens: &[Token], at: usize) -> usize {
        const ITEMS: [&str; 8] = ["struct", "enum", "trait", "type", "fn", "const", "static", "union"];
        let next = |offset: usize| tokens.get(at + offset).map(Token::text);
        let is_item = self.opened.last().copied().unwrap_or(0) == self.depth;
        match (&tokens[at], next(1)) {
            (Token::Mark('{'), _) => self.depth += 1,
            (Token::Mark('}'), _) => self.leave(),
            (Token::Word(word), Some(name)) if word == "mod" => {
                if next(2) == Some("{") {
                    self.module.push(name.to_owned());
                    self.depth += 1;
                    self.opened.push(self.depth);
                    self.enter();
                }
                return at + 3;
            }
            (Token::Word(word), _) if word == "use" => return self.take_use(tokens, at),
            (Token::Word(word), Some("!")) if word == "macro_rules" => {
                self.here().items.extend(next(2).map(str::to_owned));
                return at + 3;
            }
            (Token::Word(word), Some(name)) if is_item && ITEMS.contains(&word.as_str()) => {
                let item = (!ITEMS.contains(&name)).then(|| name.to_owned());
                self.here().items.extend(item);
            }
            (Token::Word(_), _) => return self.take_path(tokens, at),
            _ => {}
        }
        at + 1
    }

    fn leave(&mut self) {
        if self.opened.last() == Some(&self.depth) {
            self.opened.pop();
            self.module.pop();
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn take_path(&mut self, tokens: &[Token], at: usize) -> usize {
        let mut path = Vec::new();
        let mut at = at;
        while let Some(Token::Word(word)) = tokens.get(at) {
            path.push(word.clone());
            at += 1;
            match tokens.get(at) {
                Some(Token::Of) => at += 1,
                _ => break,
            }
        }
        match path.len() {
            1 => self.here().words.extend(path),
            _ => {
                self.here().words.insert(path[0].clone());
                self.here().paths.push(path);
            }
        }
        at
    }

    fn take_use(&mut self, tokens: &[Token], at: usize) -> usize {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let is_reexport = before.is_some_and(|before| ["pub", ")"].contains(&before.text()));
        let end =
            tokens[at..].iter().position(|token| token.text() == ";").map_or(tokens.len(), |end| at + end);
        let mut leaves = Vec::new();
        tree(&tokens[at + 1..end], &[], &mut leaves);
        let imports = leaves.into_iter().map(|(path, name)| Import { path, name, is_reexport });
        self.here().imports.extend(imports);
        end + 1
    }
}

/// The paths of a `use`, each with the name that it has here.
fn tree(tokens: &[Token], before: &[String], leaves: &mut Vec<(Vec<String>, String)>) {
    let mut depth = 0;
    let is_end = |token: &Token| {
        depth += match token {
            Token::Mark('{') => 1,
            Token::Mark('}') => -1,
            _ => 0,
        };
        depth == 0 && token.text() == ","
    };
    let branches: Vec<_> = tokens.split(is_end).map(<[Token]>::to_vec).collect();
    for branch in branches.iter().filter(|branch| !branch.is_empty()) {
        let words = branch.iter().take_while(|token| token.text() != "{" && token.text() != "as");
        let words = words.filter_map(|token| match token {
            Token::Word(word) => Some(word.clone()),
            Token::Mark('*') => Some("*".to_owned()),
            _ => None,
        });
        let mut path: Vec<String> = before.iter().cloned().chain(words).collect();
        let mut name = path.last().cloned().unwrap_or_default();
        if let Some(begin) = branch.iter().position(|token| token.text() == "{") {
            tree(&branch[begin + 1..branch.len() - 1], &path, leaves);
            continue;
        }
        if name == "*" {
            path.pop();
        } else if name == "self" {
            path.pop();
            name = path.last().cloned().unwrap_or_default();
        }
        let renamed = branch.iter().position(|token| token.text() == "as").map(|at| &branch[at + 1]);
        leaves.push((path, renamed.map_or(name, |name| name.text().to_owned())));
    }
}

/// A token of Rust, as far as imports need it.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Of,
    Mark(char),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Of => "::",
            Self::Mark(mark) => match mark {
                '{' => "{",
                ';' => ";",
                ',' => ",",
                ')' => ")",
                '!' => "!",
                _ => "",
            },
        }
    }
}

/// Tokens without comments and literals.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => literal_bytes(rest, '"'),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => raw_bytes(rest),
            // A character; what is none is a lifetime.
            '\'' => match literal_bytes(rest, '\'') {
                length if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') => length,
                _ => 1,
            },
            ':' if rest.starts_with("::") => {
                tokens.push(Token::Of);
                2
            }
            first if first.is_alphabetic() || first == '_' => {
                let is_end = |next: char| !next.is_alphanumeric() && next != '_';
                let length = rest.find(is_end).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            first if first.is_ascii_digit() => {
                rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len())
            }
            first => {
                if !first.is_whitespace() {
                    tokens.push(Token::Mark(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Bytes of a literal between two such quotes.
fn literal_bytes(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    let is_end = |next: char| {
        let ends = next == quote && !is_escaped;
        is_escaped = next == '\\' && !is_escaped;
        ends
    };
    text[1..].find(is_end).map_or(text.len(), |end| end + 2)
}

/// Bytes of a raw string.
fn raw_bytes(text: &str) -> usize {
    let begin = text.find('"').unwrap_or(0);
    let end = format!("\"{}", "#".repeat(begin - 1));
    text[begin + 1..].find(&end).map_or(text.len(), |at| begin + 1 + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The imports of files given as path and text, as text.
    fn imports(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let imports = Modules::read(Path::new("src"), &files).imports();
        let pairs = imports.iter().flat_map(|(file, others)| others.iter().map(move |other| (file, other)));
        let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut texts: Vec<_> =
            pairs.map(|(file, other)| format!("{} {}", name(file), name(other))).collect();
        texts.sort();
        texts
    }

    #[test]
    fn names_are_followed_through_reexports() {
        let root = ("src/lib.rs", "mod a;\nmod b;\nmod c;\npub use a::{A, other as Other};\npub use b::*;");
        let a = ("src/a.rs", "mod inner { pub const N: u8 = 1; }\npub struct A;\npub fn other() {}");
        let b = ("src/b.rs", "pub use crate::a::inner::N;\npub struct B { a: crate::A }");
        let c = ("src/c.rs", "use crate::{B, Other};\nfn f() -> u8 { crate::N }");
        assert_eq!(imports(&[root, a, b, c]), ["b a", "c a", "c b"]);
    }

    #[test]
    fn only_what_is_named_is_imported() {
        let root = ("src/lib.rs", "mod a;\n// use a::A;\nconst TEXT: &str = \"a::A\";\npub use a::A;");
        let a = ("src/a.rs", "mod child;\nuse child::C;\npub struct A(C);\nfn f() { child::run(); }");
        let child = (
            "src/a/child.rs",
            "use super::A;\npub struct C;\npub fn run() {}\nfn g<'a>(c: char) -> bool { c == '\"' }",
        );
        assert_eq!(imports(&[root, a, child]), ["a child", "child a"]);
    }
}
