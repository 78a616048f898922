//! The numbers of docs/limits.md are those of the constants that stand beside them.

use crate::tidy::{code, root, sources};

const SECOND_NS: f64 = 1e9;
/// References from one constant to another that are followed.
const DEPTH_MAX: u32 = 8;

/// A source file: the parts of its module's path (`extractor`, `http`, `audit`, `file`), and its code.
struct Source {
    module: Vec<String>,
    code: String,
}

fn source_files() -> Vec<Source> {
    let module = |path: &std::path::Path| {
        let path = path.with_extension("");
        let parts = path.iter().filter_map(|part| part.to_str());
        parts.filter(|part| !["src", "lib"].contains(part)).map(str::to_owned).collect()
    };
    let source = |(path, text): (std::path::PathBuf, String)| Source {
        module: module(&path),
        code: code(&text).map(|(_, line)| format!("{line}\n")).collect(),
    };
    sources().into_iter().map(source).collect()
}

/// The numbers of a sentence, in bytes and nanoseconds where it has units: `1 GiB or 60 s`; `4,096; 64`; of `1/4` the 4.
fn numbers(text: &str) -> Vec<f64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let bare = |word: &str| word.trim_end_matches([',', ';']).trim_start_matches("1/").replace(',', "");
    let unit = |word: &str| match word.trim_end_matches([',', ';']) {
        "KiB" => f64::from(1 << 10),
        "MiB" => f64::from(1 << 20),
        "GiB" => f64::from(1 << 30),
        "ms" => SECOND_NS / 1e3,
        "s" => SECOND_NS,
        "min" => SECOND_NS * 60.0,
        "h" => SECOND_NS * 3600.0,
        _ => 1.0,
    };
    let scaled = |(at, word): (usize, &&str)| {
        let following = words.get(at + 1).filter(|_| !word.ends_with([',', ';']));
        Some(bare(word).parse::<f64>().ok()? * following.map_or(1.0, |word| unit(word)))
    };
    words.iter().enumerate().filter_map(scaled).collect()
}

/// Evaluates `terms` of an expression that `operator` joins.
fn fold(
    text: &str,
    operator: &str,
    term: &dyn Fn(&str) -> Option<f64>,
    add: fn(f64, f64) -> f64,
) -> Option<f64> {
    text.split(operator).map(|part| term(part.trim())).reduce(|all, next| Some(add(all?, next?))).flatten()
}

/// What a simple expression comes to: integers, `+`, `*`, `<<`, durations, names. Durations are in nanoseconds.
fn value(text: &str, name: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
    let text = text.trim();
    let duration = |kind: &str| text.strip_prefix(kind)?.strip_suffix(')');
    if let Some(seconds) = duration("Duration::from_secs(") {
        return Some(value(seconds, name)? * SECOND_NS);
    }
    if let Some(milliseconds) = duration("Duration::from_millis(") {
        return Some(value(milliseconds, name)? * SECOND_NS / 1e3);
    }
    let atom = |text: &str| match text.replace('_', "").parse::<f64>() {
        Ok(number) => Some(number),
        Err(_) => name(text.split(" as ").next()?.trim()),
    };
    if let Some((before, rest)) = text.split_once('(') {
        let (inside, behind) = rest.rsplit_once(')')?;
        let inside = value(inside, name)?;
        return value(&format!("{before}{inside}{behind}"), name);
    }
    let product = |text: &str| fold(text, "*", &atom, |a, b| a * b);
    let sum = |text: &str| fold(text, "+", &product, |a, b| a + b);
    fold(text, "<<", &sum, |a, b| a * b.exp2())
}

/// The expressions that stand behind `name:` in a file, with the type of a constant left out.
fn definitions<'c>(code: &'c str, name: &'c str) -> impl Iterator<Item = &'c str> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(name).filter_map(move |(at, _)| {
        let (before, behind) = (code.get(..at)?, code.get(at + name.len()..)?);
        let behind = behind.strip_prefix(": ").filter(|_| !before.ends_with(is_word))?;
        if before.ends_with("const ") {
            return behind.split(';').next()?.split_once(" = ").map(|(_, expression)| expression);
        }
        behind.split([',', '\n', '}']).next()
    })
}

/// The fields of `name: Type { ... }`.
fn fields<'c>(code: &'c str, name: &'c str) -> impl Iterator<Item = &'c str> {
    let starts = code.match_indices(name).filter_map(move |(at, _)| code.get(at + name.len()..));
    starts.filter_map(|behind| {
        let head = behind.split(['}', ';']).next().filter(|_| behind.starts_with(": "))?;
        head.contains('{').then_some(head)
    })
}

/// What a constant of this source comes to.
fn constant(all: &[Source], source: &Source, name: &str, depth: u32) -> Option<f64> {
    if depth > DEPTH_MAX {
        return None;
    }
    let is_constant =
        |name: &&str| !name.is_empty() && name.chars().all(|of| of.is_ascii_uppercase() || of == '_');
    let imported = |name: &str| {
        let name = name.rsplit("::").next().filter(is_constant)?;
        let here = constant(all, source, name, depth + 1);
        here.or_else(|| all.iter().find_map(|other| constant(all, other, name, depth + 1)))
    };
    let of =
        |code: &str, name: &str| definitions(code, name).find_map(|expression| value(expression, &imported));
    match name.split_once('.') {
        Some((outer, field)) => fields(&source.code, outer).find_map(|fields| of(fields, field)),
        None => of(&source.code, name),
    }
}

/// What `module::NAME` comes to, in nanoseconds where the name says that it is in seconds.
fn named(all: &[Source], path: &str) -> Option<f64> {
    let (module, name) = path.rsplit_once("::")?;
    let module: Vec<&str> = module.split("::").collect();
    let is_meant = |source: &&Source| {
        let skipped = source.module.len().checked_sub(module.len());
        skipped.is_some_and(|skipped| source.module.iter().skip(skipped).eq(module.iter()))
    };
    let mut found: Vec<f64> =
        all.iter().filter(is_meant).filter_map(|source| constant(all, source, name, 0)).collect();
    found.dedup();
    let is_seconds = name.to_lowercase().contains("seconds");
    let found = <[f64; 1]>::try_from(found).ok()?;
    found.first().map(|value| value * if is_seconds { SECOND_NS } else { 1.0 })
}

#[test]
fn numbers_and_expressions_are_read_as_they_are_meant() {
    assert_eq!(numbers("24 of 4 MiB, so 96 MiB"), [24.0, 4_194_304.0, 100_663_296.0]);
    assert_eq!(numbers("1/4 of it, between 25 ms and 2 h; 4,096; 1"), [4.0, 25e6, 7200e9, 4096.0, 1.0]);
    let of = |text: &str| value(text, &|name| (name == "SECOND_NS").then_some(SECOND_NS));
    assert_eq!(of("3 * (2 * 4096 + 1024)"), Some(27_648.0));
    assert_eq!(of("1 << 4 + 1"), Some(32.0));
    assert_eq!(of("Duration::from_secs(12 * 3600)"), Some(43_200e9));
    assert_eq!(of("60 * SECOND_NS"), Some(60e9));
    assert_eq!(of("size_of::<u8>()"), None);
    assert_eq!(of("u64"), None);
}

#[test]
fn the_limits_that_are_told_are_those_of_the_constants() {
    let text = std::fs::read_to_string(root().join("docs/limits.md")).expect("docs/limits.md");
    let all = source_files();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() > 70, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, limit, constants] = cells[..] else { panic!("not three cells: {row}") };
        let told = numbers(limit);
        let expressions: Vec<&str> = constants.split('`').skip(1).step_by(2).collect();
        let are: Vec<_> = expressions.iter().map(|text| value(text, &|name| named(&all, name))).collect();
        if are.is_empty() || are != told.iter().copied().map(Some).collect::<Vec<_>>() {
            wrong.push(format!("{what}: told {told:?}, {expressions:?} are {are:?}"));
        }
    }
    assert!(wrong.is_empty(), "docs/limits.md says otherwise than the source:\n{}", wrong.join("\n"));
}
