//! Inherent impls stand with their types: who reads a type's file knows what it can do.

use std::collections::BTreeSet;

use super::{is_test, product, sources, type_name};

/// The type of the inherent impl that begins with this line, if one does.
fn type_of_impl(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(parameters) => behind_parameters(parameters)?,
        None => rest,
    };
    let head = rest.strip_prefix(' ')?;
    let head = head.strip_prefix("dyn ").unwrap_or(head);
    let is_name = |next: char| next.is_alphanumeric() || next == '_';
    let name = head.split(|next: char| !is_name(next)).next()?;
    (!head.contains(" for ") && !name.is_empty()).then_some(name)
}

/// The text behind the parameters of an impl.
fn behind_parameters(text: &str) -> Option<&str> {
    let mut depth = 1;
    let end = text.char_indices().find(|&(at, next)| {
        // The arrow of a function's type closes nothing.
        depth += match next {
            '<' => 1,
            '>' if !text[..at].ends_with('-') => -1,
            _ => 0,
        };
        depth == 0
    });
    end.map(|(at, _)| &text[at + 1..])
}

#[test]
fn impls_stand_with_their_types() {
    let mut found = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let own: BTreeSet<&str> = product(&text).lines().filter_map(type_name).collect();
        let impls = product(&text).lines().filter_map(type_of_impl);
        found.extend(
            impls.filter(|name| !own.contains(name)).map(|name| format!("{}: {name}", path.display())),
        );
    }
    assert!(found.is_empty(), "impls apart from their types:\n{}", found.join("\n"));
}

#[test]
fn impls_are_recognised() {
    assert_eq!(type_of_impl("impl Lane {"), Some("Lane"));
    assert_eq!(type_of_impl("impl<'a, B: AsRef<[u8]>> Index<'a, B> {"), Some("Index"));
    assert_eq!(type_of_impl("impl<F: Fn(u8) -> bool> Judge<F> {"), Some("Judge"));
    assert_eq!(type_of_impl("impl Drop for Lane {"), None);
    assert_eq!(type_of_impl("impl<T> From<T> for Lane {"), None);
    assert_eq!(type_of_impl("implement it"), None);
}
