//! Long lists of addresses, networks and ports, as of indicators of compromise, in time that does not grow with their square.
//!
//! In `(host A or B or C ...) and tcp` libpcap's program compares some fields of the packet with A, with B, and so on, and
//! treats all of them alike. So the expression is compiled with one of them in the place of the list, and where the program
//! holds a field against that one, it is held against all of the list, by a search tree of the same instructions. What the
//! expression means for the packet stays libpcap's to say, after `vlan` or `mpls` too.
//!
//! The places of comparisons are not guessed: the expression is compiled once more with another one in the same place, and the
//! two programs may differ in the constants of comparisons, and in nothing else. Otherwise, and where anything in the list is
//! not understood, libpcap compiles the whole of it.
//!
//! **Invariant:** accepts the packets that libpcap's program for the whole expression accepts, but for packets that are cut
//! within the fields that are compared: of those libpcap asks about one of the list after the other.

use std::ops::Range;

use netrewind_store::LinkType;

use crate::diagnosis::compile_checked;
use crate::error::FilterError;
use crate::instruction::{BranchTest, Instruction, Operand, RawInstruction};
use crate::lexer::{FilterToken, TokenKind, tokens};
use crate::program::Program;
use crate::target::Optimize;

/// With fewer members in all lists together, libpcap compiles the expression.
const LISTED_MIN: usize = 16;
/// Lists of one expression: one more program is compiled for each.
const LISTS_MAX: usize = 32;
/// Tokens of an expression in which lists are shortened: without libpcap's optimizer these take some 10 ms.
const SHORTENED_TOKENS_MAX: usize = 256;
/// Tokens of one that libpcap's optimizer processes, too.
const OPTIMIZED_TOKENS_MAX: usize = 64;
/// Members of an expression that the optimizer finds to accept nothing with one of them, up to which it looks at all: others
/// of them may be accepted.
const REJECTED_MEMBERS_MAX: usize = 300;
/// Comparisons in a row at the leaves of the tree: these are run as one.
const LEAF_MAX: usize = 16;
/// The operation code of a comparison with a constant: `jeq #k` of bpf(4).
const EQUAL_TO_CONSTANT: u16 = 0x15;

/// Words that may precede a list, and name its field.
const QUALIFIERS: [&str; 11] =
    ["ip", "arp", "rarp", "tcp", "udp", "sctp", "src", "dst", "host", "net", "port"];

/// Member of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    value: u32,
    kind: MemberKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemberKind {
    Host,
    /// A network with this prefix length.
    Network(u32),
    Port,
}

/// Members of a run that are compared in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MemberList {
    /// The words before them; none where those outside of the parentheses hold.
    qualifiers: String,
    kind: MemberKind,
    values: Vec<u32>,
}

/// A part of an expression: some text, or what stands for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ExpressionPiece {
    Text(String),
    List(usize),
}

/// An expression in which lists are shortened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shortened {
    pieces: Vec<ExpressionPiece>,
    lists: Vec<MemberList>,
    /// Members of all lists, counting repeated ones.
    members: usize,
}

/// The program of an expression with long lists; none where there are none, or they are not understood.
pub(super) fn compile_lists(expression: &str, link_type: LinkType) -> Option<Program> {
    let shortened = Shortened::of(expression);
    if shortened.members < LISTED_MIN || shortened.lists.len() > LISTS_MAX {
        return None;
    }
    let text = shortened.text(None);
    let count = tokens(&text).len();
    if count > SHORTENED_TOKENS_MAX || shortened.may_reject_all(&text, count, link_type) {
        return None;
    }
    // Not optimized: the optimizer would draw conclusions from the one member that are wrong for the others.
    let compile = |text: &str| compile_checked(text, link_type, Optimize::No).ok();
    let program = compile(&text)?;
    let mut of_position = vec![None; program.len()];
    for number in 0..shortened.lists.len() {
        let other = compile(&shortened.text(Some(number)))?;
        shortened.lists[number].mark(number, &program, &other, &mut of_position)?;
    }
    let decoded = Program::decode(link_type, &program).ok()?;
    let instructions = with_lists(decoded.instructions(), &of_position, &shortened.lists)?;
    Program::of(link_type, instructions).ok()
}

impl MemberKind {
    /// Another value of the kind.
    fn other(self, value: u32) -> u32 {
        match self {
            Self::Host | Self::Port => value ^ 1,
            Self::Network(bits) => value ^ 1 << (u32::BITS - bits),
        }
    }

    fn text(self, value: u32) -> String {
        let address = std::net::Ipv4Addr::from_bits(value);
        match self {
            Self::Host => address.to_string(),
            Self::Network(bits) => format!("{address}/{bits}"),
            Self::Port => value.to_string(),
        }
    }
}

impl MemberList {
    /// Marks the positions where a field is held against what stands for this list: where `program` and `other`, of another
    /// value in its place, differ. `None` if they differ in anything else.
    fn mark(
        &self,
        number: usize,
        program: &[RawInstruction],
        other: &[RawInstruction],
        of_position: &mut [Option<usize>],
    ) -> Option<()> {
        let value = *self.values.first()?;
        let expected = (value, self.kind.other(value));
        if program.len() != other.len() {
            return None;
        }
        for ((ours, theirs), mark) in program.iter().zip(other).zip(of_position) {
            if ours == theirs {
                continue;
            }
            let is_same_otherwise = *theirs == RawInstruction { k: theirs.k, ..*ours };
            let is_comparison = ours.code == EQUAL_TO_CONSTANT && (ours.k, theirs.k) == expected;
            if !is_same_otherwise || !is_comparison || mark.is_some() {
                return None;
            }
            *mark = Some(number);
        }
        Some(())
    }
}

/// The tokens of an expression, and their text.
struct Words<'e> {
    expression: &'e str,
    tokens: Vec<FilterToken>,
}

/// A list's member with what stands before it.
struct ListTerm {
    /// Empty where what was before holds on.
    qualifiers: String,
    member: Member,
    /// Its tokens.
    tokens: Range<usize>,
}

impl Words<'_> {
    fn at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &self.expression[token.span.clone()])
    }

    fn is_or(&self, at: usize) -> bool {
        matches!(self.at(at), "or" | "||")
    }

    /// True if an alternative joined by `or` can begin here. An expression, or one in parentheses, is read from left to right,
    /// so all that follow are joined to whatever was before.
    fn can_begin(&self, at: usize) -> bool {
        at == 0 || self.at(at - 1) == "(" || self.is_or(at - 1)
    }

    /// A member of a list, with what is before it. `inherited` are the qualifiers that hold so far in the run.
    fn term(&self, from: usize, inherited: Option<&str>) -> Option<ListTerm> {
        let is_qualifier = |at: &usize| QUALIFIERS.contains(&self.at(*at));
        let at = (from..).find(|at| !is_qualifier(at))?;
        let words: Vec<&str> = (from..at).map(|at| self.at(at)).collect();
        let qualifiers = words.join(" ");
        let effective = if words.is_empty() { inherited.unwrap_or_default() } else { &qualifiers };
        let (member, end) = self.member(at, effective)?;
        // Anything else behind it gives it another meaning.
        let is_last = matches!(self.at(end), "" | ")" | "or" | "||" | "and" | "&&");
        is_last.then_some(ListTerm { qualifiers, member, tokens: from..end })
    }

    /// The member listed at a position, under these qualifiers, and the end of its tokens.
    fn member(&self, at: usize, qualifiers: &str) -> Option<(Member, usize)> {
        let has = |word: &str| qualifiers.split(' ').any(|qualifier| qualifier == word);
        let kind = self.tokens.get(at)?.kind;
        if has("port") {
            let value = decimal(self.at(at), u32::from(u16::MAX))?;
            return (kind == TokenKind::Number).then_some((Member { value, kind: MemberKind::Port }, at + 1));
        }
        if kind != TokenKind::Address || ["tcp", "udp", "sctp"].into_iter().any(has) {
            return None;
        }
        let value = dotted_quad(self.at(at))?;
        if self.at(at + 1) != "/" {
            return (!has("net")).then_some((Member { value, kind: MemberKind::Host }, at + 1));
        }
        let bits = decimal(self.at(at + 2), u32::BITS)?;
        let is_network = bits > 0 && value & (u32::MAX.checked_shr(bits).unwrap_or(0)) == 0;
        let member = Member { value, kind: MemberKind::Network(bits) };
        (is_network && !has("host")).then_some((member, at + 3))
    }
}

/// A number without signs, leading zeros or another base, up to `max`.
fn decimal(text: &str, max: u32) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|number| is_plain && *number <= max)
}

fn dotted_quad(text: &str) -> Option<u32> {
    let mut value = 0;
    let mut count = 0;
    for byte in text.split('.') {
        value = value << 8 | decimal(byte, u32::from(u8::MAX))?;
        count += 1;
    }
    (count == 4).then_some(value)
}

impl Shortened {
    fn of(expression: &str) -> Self {
        let words = Words { expression, tokens: tokens(expression) };
        let mut shortened = Self::default();
        let mut at = 0;
        let mut copied = 0;
        while at < words.tokens.len() {
            let run = if words.can_begin(at) { run_at(&words, at) } else { Vec::new() };
            match (run.first(), run.last()) {
                (Some(first), Some(last)) if run.len() > 1 => {
                    let (begin, end) = (first.tokens.start, last.tokens.end);
                    let text = &expression[copied..words.tokens[begin].span.start];
                    shortened.pieces.push(ExpressionPiece::Text(text.to_owned()));
                    copied = words.tokens[end - 1].span.end;
                    shortened.add(&run);
                    at = end;
                }
                _ => at += 1,
            }
        }
        shortened.pieces.push(ExpressionPiece::Text(expression[copied..].to_owned()));
        shortened
    }

    /// True if libpcap may have to be asked whether anything is accepted at all, and can be.
    fn may_reject_all(&self, text: &str, count: usize, link_type: LinkType) -> bool {
        self.members <= REJECTED_MEMBERS_MAX
            && count <= OPTIMIZED_TOKENS_MAX
            && matches!(compile_checked(text, link_type, Optimize::Yes), Err(FilterError::RejectsAll { .. }))
    }

    /// Adds the lists of a run.
    fn add(&mut self, run: &[ListTerm]) {
        self.members += run.len();
        let begin = self.lists.len();
        let mut qualifiers = "";
        let mut last = begin;
        for term in run {
            if !term.qualifiers.is_empty() {
                qualifiers = &term.qualifiers;
            }
            let Member { value, kind } = term.member;
            let is_same = |list: &MemberList| list.kind == kind && list.qualifiers == qualifiers;
            let known = self.lists[begin..].iter().position(is_same);
            last = known.map_or(self.lists.len(), |known| begin + known);
            match self.lists.get_mut(last) {
                Some(list) => list.values.push(value),
                None => {
                    self.lists.push(MemberList {
                        qualifiers: qualifiers.to_owned(),
                        kind,
                        values: vec![value],
                    });
                }
            }
        }
        // What follows the run inherits the qualifiers of its last member, and what has none those of before it: lists without
        // come first, and the last member's comes last.
        let ends_with = self.lists[last].clone();
        let mut order: Vec<usize> = (begin..self.lists.len()).collect();
        order.sort_by_key(|&number| {
            let list = &self.lists[number];
            (!list.qualifiers.is_empty(), list.qualifiers == ends_with.qualifiers)
        });
        for (nth, &number) in order.iter().enumerate() {
            if nth > 0 {
                self.pieces.push(ExpressionPiece::Text(" or ".to_owned()));
            }
            self.pieces.push(ExpressionPiece::List(number));
        }
        self.lists[begin..].iter_mut().for_each(MemberList::sort);
    }

    /// The expression with one member in the place of each list, and another one in that of this list.
    fn text(&self, other: Option<usize>) -> String {
        let part = |piece: &ExpressionPiece| match piece {
            ExpressionPiece::Text(text) => text.clone(),
            ExpressionPiece::List(number) => {
                let MemberList { qualifiers, kind, values } = &self.lists[*number];
                let value = values.first().copied().unwrap_or_default();
                let value = if other == Some(*number) { kind.other(value) } else { value };
                let blank = if qualifiers.is_empty() { "" } else { " " };
                format!("{qualifiers}{blank}{}", kind.text(value))
            }
        };
        self.pieces.iter().map(part).collect()
    }
}

impl MemberList {
    fn sort(&mut self) {
        self.values.sort_unstable();
        self.values.dedup();
    }
}

/// Members from a position on that `or` joins.
fn run_at(words: &Words<'_>, begin: usize) -> Vec<ListTerm> {
    let mut run: Vec<ListTerm> = Vec::new();
    let mut qualifiers: Option<String> = None;
    let mut at = begin;
    while let Some(term) = words.term(at, qualifiers.as_deref()) {
        if !term.qualifiers.is_empty() {
            qualifiers = Some(term.qualifiers.clone());
        }
        at = term.tokens.end;
        run.push(term);
        if !words.is_or(at) {
            break;
        }
        at += 1;
    }
    run
}

/// The program in which marked comparisons are made with all values of their lists.
fn with_lists(
    instructions: &[Instruction],
    of_position: &[Option<usize>],
    lists: &[MemberList],
) -> Option<Vec<Instruction>> {
    let mut begins = Vec::with_capacity(instructions.len());
    let mut length = 0usize;
    for mark in of_position {
        begins.push(u32::try_from(length).ok()?);
        length += mark.map_or(1, |number| tree_length(lists[number].values.len()));
    }
    let moved = |target: u32| begins.get(target as usize).copied();
    let mut all = Vec::with_capacity(length);
    for (instruction, mark) in instructions.iter().zip(of_position) {
        match (*instruction, mark) {
            (Instruction::Branch { holds, fails, .. }, Some(number)) => {
                add_tree(&mut all, &lists[*number].values, moved(holds)?, moved(fails)?)?;
            }
            (_, Some(_)) => return None,
            (Instruction::Branch { test, operand, holds, fails }, None) => {
                let (holds, fails) = (moved(holds)?, moved(fails)?);
                all.push(Instruction::Branch { test, operand, holds, fails });
            }
            (Instruction::Jump { target }, None) => all.push(Instruction::Jump { target: moved(target)? }),
            (instruction, None) => all.push(instruction),
        }
    }
    Some(all)
}

/// Number of instructions of a tree over this many values.
fn tree_length(count: usize) -> usize {
    match count {
        0..=LEAF_MAX => count,
        _ => 1 + tree_length(count / 2) + tree_length(count - count / 2),
    }
}

/// Adds the search for the accumulator among these values, which ascend.
fn add_tree(all: &mut Vec<Instruction>, values: &[u32], holds: u32, fails: u32) -> Option<()> {
    let next = |all: &Vec<Instruction>, by: usize| u32::try_from(all.len() + by).ok();
    if values.len() <= LEAF_MAX {
        for (nth, &value) in values.iter().enumerate() {
            let fails = if nth + 1 == values.len() { fails } else { next(all, 1)? };
            let operand = Operand::Constant(value);
            all.push(Instruction::Branch { test: BranchTest::Equal, operand, holds, fails });
        }
        return Some(());
    }
    let (low, high) = values.split_at(values.len() / 2);
    let operand = Operand::Constant(*low.last()?);
    let (above, below) = (next(all, 1 + tree_length(low.len()))?, next(all, 1)?);
    all.push(Instruction::Branch { test: BranchTest::Greater, operand, holds: above, fails: below });
    add_tree(all, low, holds, fails)?;
    add_tree(all, high, holds, fails)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortened(expression: &str) -> (String, usize) {
        let shortened = Shortened::of(expression);
        (shortened.text(None), shortened.members)
    }

    #[test]
    fn lists_are_found_where_or_joins_them_and_nowhere_else() {
        for (expression, short, count) in [
            ("host 10.0.0.2 or 10.0.0.1", "host 10.0.0.1", 2),
            ("10.0.0.2 || 10.0.0.1", "10.0.0.1", 2),
            ("(src host 10.0.0.2 or 10.0.0.1) and tcp", "(src host 10.0.0.1) and tcp", 2),
            ("host 10.0.0.1 or host 10.0.0.2 and port 5", "host 10.0.0.1 and port 5", 2),
            ("tcp or host 10.0.0.1 or 10.0.0.2", "tcp or host 10.0.0.1", 2),
            ("port 80 or 443 or 22", "port 22", 3),
            ("net 10.0.0.0/8 or 11.0.0.0/8 or 12.0.0.0/16", "net 10.0.0.0/8 or net 12.0.0.0/16", 3),
            (
                "src host 10.0.0.1 or dst host 10.0.0.1 or src host 10.0.0.2 or dst host 10.0.0.2 or 10.0.0.3",
                "src host 10.0.0.1 or dst host 10.0.0.1",
                5,
            ),
            (
                "dst host 10.0.0.1 or src host 10.0.0.1 or dst host 10.0.0.2",
                "src host 10.0.0.1 or dst host 10.0.0.1",
                3,
            ),
            ("host (10.0.0.2 or 10.0.0.1)", "host (10.0.0.1)", 2),
            // Read from left to right these would mean something else.
            ("tcp and host 10.0.0.1 or 10.0.0.2", "tcp and host 10.0.0.1 or 10.0.0.2", 0),
            ("not host 10.0.0.1 or 10.0.0.2", "not host 10.0.0.1 or 10.0.0.2", 0),
            ("host 10.0.0.1 and 10.0.0.2", "host 10.0.0.1 and 10.0.0.2", 0),
            // And these are for libpcap to judge.
            ("host 10.0.0.01 or 10.0.0.2", "host 10.0.0.01 or 10.0.0.2", 0),
            ("net 10.0.0.1/8 or 11.0.0.0/8", "net 10.0.0.1/8 or 11.0.0.0/8", 0),
            ("host 10.1 or 10.2", "host 10.1 or 10.2", 0),
            ("net 10.0.0.0 mask 255.0.0.0 or 11.0.0.0/8", "net 10.0.0.0 mask 255.0.0.0 or 11.0.0.0/8", 0),
            ("tcp port 0x50 or 81", "tcp port 0x50 or 81", 0),
            ("src or dst host 10.0.0.1", "src or dst host 10.0.0.1", 0),
        ] {
            assert_eq!(shortened(expression), (short.to_owned(), count), "{expression}");
        }
    }

    #[test]
    fn a_tree_finds_what_is_in_the_list_and_nothing_else() {
        for count in [1usize, 2, 16, 17, 33, 1000] {
            let values: Vec<u32> = (0..count).map(|n| n as u32 * 7 + 3).collect();
            let mut all = Vec::new();
            let length = tree_length(count) as u32;
            add_tree(&mut all, &values, length, length + 1).unwrap();
            assert_eq!(all.len() as u32, length);
            all.push(Instruction::Return { accept: true });
            all.push(Instruction::Return { accept: false });
            let mut program = vec![Instruction::LoadLength];
            let one_later = |target: u32| target + 1;
            program.extend(all.into_iter().map(|instruction| match instruction {
                Instruction::Branch { test, operand, holds, fails } => {
                    Instruction::Branch { test, operand, holds: one_later(holds), fails: one_later(fails) }
                }
                other => other,
            }));
            let program = Program::of(LinkType::ETHERNET, program).unwrap();
            for length in 0..count as u32 * 7 + 20 {
                assert_eq!(program.accepts(&[], length), values.contains(&length), "{length} of {count}");
            }
        }
    }
}
