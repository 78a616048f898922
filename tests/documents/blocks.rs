//! The blocks of code in a document.

use super::Document;

/// A command of a document, and the number of its first line.
#[derive(Debug, PartialEq)]
pub struct Command {
    pub line: usize,
    pub text: String,
}

impl Command {
    /// The exit status that the document announces in a comment (`# exit status 2`).
    pub fn announced_status(&self) -> Option<i32> {
        let rest = self.text.rsplit_once("# exit status ")?.1;
        rest.split_whitespace().next()?.parse().ok()
    }
}

/// What a document shows: commands to run, and the number of those that cannot be run here.
#[derive(Debug, Default, PartialEq)]
pub struct Shown {
    pub commands: Vec<Command>,
    pub left_out: usize,
}

/// Reads the blocks: ```` ```sh ```` has commands, a line each, that are joined at a trailing backslash; ```` ```console ```` has
/// commands behind `$` that cannot be run here; a block without a word shows something else.
pub fn shown(document: &Document) -> Shown {
    let (mut shown, mut word, mut joined) = (Shown::default(), None, None::<Command>);
    for (number, line) in document.text.lines().enumerate() {
        if let Some(fence) = line.strip_prefix("```") {
            word = if word.is_some() { None } else { Some(fence.trim()) };
            let is_known = matches!(word, None | Some("sh" | "console" | ""));
            assert!(is_known, "{}:{}: what is {word:?}?", document.name, number + 1);
            continue;
        }
        match word {
            Some("console") => shown.left_out += usize::from(line.starts_with("$ ")),
            Some("sh") => {
                let mut command = joined.take().unwrap_or(Command { line: number + 1, text: String::new() });
                match line.strip_suffix('\\') {
                    Some(begun) => {
                        command.text += begun;
                        joined = Some(command);
                    }
                    None => {
                        command.text += line;
                        let is_command = !command.text.trim().is_empty() && !command.text.starts_with('#');
                        shown.commands.extend(is_command.then_some(command));
                    }
                }
            }
            _ => {}
        }
    }
    assert!(word.is_none() && joined.is_none(), "{}: a block does not end", document.name);
    shown
}

#[test]
fn blocks_are_read_by_their_word() {
    let text = "a\n```sh\none \\\n  --more\n# a comment\n\ntwo  # exit status 2\n```\n```\nno command\n```\n\
                ```console\n$ three\nwhat it says\n```\n";
    let found = shown(&Document { name: "a".into(), text: text.into() });
    let texts: Vec<_> = found.commands.iter().map(|command| (command.line, &*command.text)).collect();
    assert_eq!(texts, [(3, "one   --more"), (7, "two  # exit status 2")]);
    assert_eq!(found.left_out, 1);
    assert_eq!(found.commands[1].announced_status(), Some(2));
    assert_eq!(found.commands[0].announced_status(), None);
}
