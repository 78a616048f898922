//! Cache of programs: each is compiled once, even if several queries need it at the same time.
//!
//! **Invariant:** a query that waits for a program reads nothing meanwhile, and a program is compiled only as long as a query
//! waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use netrewind_store::{LinkType, locked};

use crate::compile::{compile_quickly, compile_while_wanted};
use crate::error::FilterError;
use crate::limits::CompileLimits;
use crate::program::Program;
use crate::worker::GIVEN_UP_INTERVAL;

/// Programs that a [`Compiler`] keeps.
pub const CACHED_PROGRAMS_MAX: usize = 256;

/// A waiter for a program.
pub trait CompileControl {
    /// True once the program is not wanted any more. Asked every few milliseconds.
    fn has_given_up(&self) -> bool {
        false
    }

    /// Runs work that may take seconds in a process of its own, while others continue. Does nothing if the caller gives up
    /// before its turn, or if too many are waiting.
    fn aside(&self, work: &mut dyn FnMut()) {
        work();
    }
}

/// Waits to the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCompileControl;

impl CompileControl for NoCompileControl {}

/// An expression, and the link type that it is compiled for.
type WantedProgram = (String, LinkType);

/// Compiles and remembers. Shared between threads; a program is compiled outside the lock, so a slow one delays nobody.
#[derive(Debug)]
pub struct Compiler {
    limits: CompileLimits,
    programs: Mutex<HashMap<WantedProgram, Arc<Program>>>,
    /// Programs being compiled, in processes of their own.
    compiling: Mutex<HashMap<WantedProgram, Arc<RunningCompilation>>>,
}

/// A program that is being compiled, shared by all queries that need it.
#[derive(Debug, Default)]
struct RunningCompilation {
    outcome: Mutex<Option<CompileOutcome>>,
    changed: Condvar,
}

/// Outcome of a compilation.
#[derive(Clone, Debug)]
enum CompileOutcome {
    /// The program.
    Compiled(Arc<Program>),
    /// It needs more than is allowed: the limit that it reached.
    TooExpensive(String),
    /// The compiling caller has given up, or the expression is wrong, which is found quickly.
    Nothing,
}

impl Compiler {
    /// A compiler with nothing in its memory.
    pub fn new(limits: CompileLimits) -> Self {
        Self { limits, programs: Mutex::default(), compiling: Mutex::default() }
    }

    /// The program of an expression for a link type; see [`crate::compile`]. A large expression is compiled in a separate
    /// process, and given up when its last waiting query gives up.
    pub fn program(
        &self,
        expression: &str,
        link_type: LinkType,
        waiting: &dyn CompileControl,
    ) -> Result<Arc<Program>, FilterError> {
        let wanted = (expression.to_owned(), link_type);
        if let Some(program) = locked(&self.programs).get(&wanted) {
            return Ok(Arc::clone(program));
        }
        let is_given_up = || waiting.has_given_up();
        if let Some(program) = compile_quickly(expression, link_type, &self.limits) {
            return Ok(self.remember(wanted, program?));
        }
        let mut compiled = Err(FilterError::Busy);
        waiting.aside(&mut || compiled = self.compile_once(&wanted, &is_given_up));
        match compiled {
            Err(FilterError::Busy) if is_given_up() => Err(FilterError::GivenUp),
            compiled => compiled,
        }
    }

    /// Compiles it, or waits for who does.
    fn compile_once(
        &self,
        wanted: &WantedProgram,
        is_given_up: &dyn Fn() -> bool,
    ) -> Result<Arc<Program>, FilterError> {
        while !is_given_up() {
            let begun = {
                let mut compiling = locked(&self.compiling);
                if let Some(program) = locked(&self.programs).get(wanted) {
                    return Ok(Arc::clone(program));
                }
                match compiling.get(wanted) {
                    Some(by_other) => Err(Arc::clone(by_other)),
                    None => Ok(Arc::clone(compiling.entry(wanted.clone()).or_default())),
                }
            };
            let by_other = match begun {
                Ok(own) => return Begun { compiler: self, wanted, own: &own }.compile(is_given_up),
                Err(by_other) => by_other,
            };
            match by_other.wait(is_given_up) {
                Some(CompileOutcome::Compiled(program)) => return Ok(program),
                Some(CompileOutcome::TooExpensive(limit)) => return Err(FilterError::TooExpensive { limit }),
                Some(CompileOutcome::Nothing) | None => {} // then it is compiled here
            }
        }
        Err(FilterError::GivenUp)
    }

    fn remember(&self, wanted: WantedProgram, program: Program) -> Arc<Program> {
        let program = Arc::new(program);
        let mut programs = locked(&self.programs);
        if programs.len() >= CACHED_PROGRAMS_MAX {
            // Any entry may be removed: it can be compiled again.
            let evicted = programs.keys().next().cloned();
            evicted.and_then(|key| programs.remove(&key));
        }
        programs.insert(wanted, Arc::clone(&program));
        program
    }
}

impl RunningCompilation {
    /// Waits for the outcome; `None` once the caller has given up.
    fn wait(&self, is_given_up: &dyn Fn() -> bool) -> Option<CompileOutcome> {
        let mut outcome = locked(&self.outcome);
        while outcome.is_none() && !is_given_up() {
            outcome = self
                .changed
                .wait_timeout(outcome, GIVEN_UP_INTERVAL)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        outcome.clone()
    }

    fn end(&self, outcome: CompileOutcome) {
        locked(&self.outcome).get_or_insert(outcome);
        self.changed.notify_all();
    }
}

/// The compilation of a program that others may want too.
struct Begun<'c> {
    compiler: &'c Compiler,
    wanted: &'c WantedProgram,
    own: &'c RunningCompilation,
}

impl Begun<'_> {
    fn compile(self, is_given_up: &dyn Fn() -> bool) -> Result<Arc<Program>, FilterError> {
        let (expression, link_type) = self.wanted;
        let compiled = compile_while_wanted(expression, *link_type, &self.compiler.limits, is_given_up)
            .map(|program| self.compiler.remember(self.wanted.clone(), program));
        match &compiled {
            Ok(program) => self.own.end(CompileOutcome::Compiled(Arc::clone(program))),
            Err(FilterError::TooExpensive { limit }) => {
                self.own.end(CompileOutcome::TooExpensive(limit.clone()))
            }
            Err(_) => {}
        }
        compiled
    }
}

/// However it ends, whoever waits learns of it.
impl Drop for Begun<'_> {
    fn drop(&mut self) {
        locked(&self.compiler.compiling).remove(self.wanted);
        self.own.end(CompileOutcome::Nothing);
    }
}
