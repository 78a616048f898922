//! The compiler in a process of its own, where time and memory can be limited: libpcap's optimizer takes minutes for a
//! thousand hosts.
//!
//! The request is one line of numbers and the expression; the answer a line that says what follows, and then the program
//! as `tcpdump -ddd` prints it, or the message and place of an error.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use netrewind_store::LinkType;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::diagnosis::compile_checked;
use super::error::FilterError;
use super::guard;
use super::instruction::{INSTRUCTIONS_MAX, ProgramError, RawInstruction};
use super::limits::CompileLimits;
use super::target::{CompileTarget, Optimize};
use super::workers::Workers;

/// The longest line of a printed instruction: four decimal numbers.
const INSTRUCTION_LINE_BYTES_MAX: u64 = 32;

/// The longest request that a worker reads.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// Interval at which it is checked that somebody still waits for a program.
pub(super) const GIVEN_UP_INTERVAL: Duration = Duration::from_millis(20);

/// The stack that libpcap's recursion over a large program gets.
const STACK_BYTES: usize = 256 << 20;

const PROGRAM: &str = "program";
const REJECTS_ALL: &str = "rejects-all";
const ERROR: &str = "error";
const NO_HANDLE: &str = "no-handle";

/// Words of a request for targets other than a file.
const SOCKET: &str = "socket:";
const ERRORS: &str = "errors";
/// Separator of interface names, which do not contain it.
const BETWEEN_INTERFACES: &str = "/";

/// Ending of an answer if libpcap got no more memory.
const OUT_OF_MEMORY: &str = "\nout of memory\n";

/// Signals of a process that went over its limits (signal(7)).
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGXCPU: i32 = 24;

/// Compiles in a worker process, which is killed once no query waits for it any more; names must have been checked.
pub(super) fn compile_in_worker(
    workers: &Workers,
    expression: &str,
    target: CompileTarget<'_>,
    optimize: Optimize,
    limits: &CompileLimits,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Vec<RawInstruction>, FilterError> {
    let broken = |source| FilterError::Worker { worker: workers.program(), source };
    let (cpu, memory) = (limits.cpu_seconds_max, limits.memory_bytes_max);
    let (link_type, optimizes) = (target.link_type().0, u8::from(optimize == Optimize::Yes));
    let request = format!("{link_type} {optimizes} {cpu} {memory} {}\n{expression}", name_of(target));
    let ((request_end, request_pipe), (answer_pipe, answer_end)) =
        io::pipe().and_then(|request| Ok((request, io::pipe()?))).map_err(broken)?;
    let mut worker = workers.start(request_end.into(), answer_end.into()).map_err(broken)?;
    let answer = converse(request_pipe, answer_pipe, request, limits, is_given_up).map_err(broken);
    if !matches!(answer, Ok(Conversed::Answer(_))) {
        worker.kill();
    }
    // No zombie stays in either case.
    let status = worker.wait().map_err(broken)?;
    match answer? {
        Conversed::GivenUp => Err(FilterError::GivenUp),
        Conversed::Late => Err(too_expensive(format!("it took longer than {:?}", limits.wall_time_max))),
        Conversed::Answer(answer) if answer.is_empty() => {
            Err(without_answer(status, limits).unwrap_or_else(|| {
                broken(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without an answer"))
            }))
        }
        Conversed::Answer(answer) if answer.ends_with(OUT_OF_MEMORY) => Err(out_of_memory(limits)),
        Conversed::Answer(answer) => read_answer(expression, &answer).unwrap_or_else(|| {
            Err(broken(io::Error::new(io::ErrorKind::InvalidData, "its answer cannot be read")))
        }),
    }
}

/// The last word of a request's first line.
fn name_of(target: CompileTarget<'_>) -> String {
    match target {
        CompileTarget::File(_) => "file".to_owned(),
        CompileTarget::Socket(_, interfaces) => {
            let plain = |name: &&String| !name.contains(char::is_whitespace);
            let names: Vec<&str> = interfaces.iter().filter(plain).map(String::as_str).collect();
            format!("{SOCKET}{}", names.join(BETWEEN_INTERFACES))
        }
        CompileTarget::Errors(_) => ERRORS.to_owned(),
    }
}

fn interfaces_of(head: &str) -> Vec<String> {
    let names = head.rsplit(' ').next().and_then(|word| word.strip_prefix(SOCKET)).unwrap_or_default();
    names.split(BETWEEN_INTERFACES).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn target_of<'a>(head: &str, link_type: LinkType, interfaces: &'a [String]) -> CompileTarget<'a> {
    match head.rsplit(' ').next() {
        Some(word) if word.starts_with(SOCKET) => CompileTarget::Socket(link_type, interfaces),
        Some(ERRORS) => CompileTarget::Errors(link_type),
        _ => CompileTarget::File(link_type),
    }
}

/// Outcome of a conversation with a worker.
enum Conversed {
    /// The worker's answer.
    Answer(String),
    /// It took too long.
    Late,
    /// Nobody waits any more.
    GivenUp,
}

/// Sends the request and reads the answer on a thread, so that the deadline holds whatever the process does.
fn converse(
    mut request_pipe: io::PipeWriter,
    answer_pipe: io::PipeReader,
    request: String,
    limits: &CompileLimits,
    is_given_up: &dyn Fn() -> bool,
) -> io::Result<Conversed> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("filter-worker".to_owned()).spawn(move || {
        // A worker that dies early breaks the pipe; its earlier output tells more than that.
        let _ = request_pipe.write_all(request.as_bytes());
        drop(request_pipe);
        let mut answer = String::new();
        let bytes_max = INSTRUCTIONS_MAX as u64 * INSTRUCTION_LINE_BYTES_MAX;
        let read = answer_pipe.take(bytes_max).read_to_string(&mut answer).map(|_| answer);
        // The receiver is gone once the deadline has passed.
        let _ = sender.send(read);
    })?;
    let mut waited = Duration::ZERO;
    while waited < limits.wall_time_max {
        match receiver.recv_timeout(GIVEN_UP_INTERVAL) {
            Ok(answer) => return answer.map(Conversed::Answer),
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its reader ended")),
            Err(RecvTimeoutError::Timeout) if is_given_up() => return Ok(Conversed::GivenUp),
            Err(RecvTimeoutError::Timeout) => waited += GIVEN_UP_INTERVAL,
        }
    }
    Ok(Conversed::Late)
}

fn too_expensive(limit: String) -> FilterError {
    FilterError::TooExpensive { limit }
}

/// The limit that ended a worker, if it was one.
fn without_answer(status: ExitStatus, limits: &CompileLimits) -> Option<FilterError> {
    let limit = match status.signal()? {
        SIGXCPU | SIGKILL => format!("it took more than {} s of CPU time", limits.cpu_seconds_max),
        SIGABRT | SIGSEGV => return Some(out_of_memory(limits)),
        _ => return None,
    };
    Some(too_expensive(limit))
}

fn out_of_memory(limits: &CompileLimits) -> FilterError {
    too_expensive(format!("it took more than {} MiB of memory", limits.memory_bytes_max >> 20))
}

fn read_answer(expression: &str, answer: &str) -> Option<Result<Vec<RawInstruction>, FilterError>> {
    let (head, body) = answer.split_once('\n')?;
    let mut words = head.split(' ');
    match words.next()? {
        PROGRAM => {
            let count: usize = words.next()?.parse().ok()?;
            if count > INSTRUCTIONS_MAX {
                return Some(Err(ProgramError::TooLong(count).into()));
            }
            let instructions: Vec<_> = body.lines().map(RawInstruction::parse).collect::<Option<_>>()?;
            (instructions.len() == count).then_some(Ok(instructions))
        }
        REJECTS_ALL => Some(Err(FilterError::RejectsAll { expression: expression.to_owned() })),
        NO_HANDLE => Some(Err(FilterError::NoHandle { reason: body.trim_end().to_owned() })),
        ERROR => {
            let span = Range { start: words.next()?.parse().ok()?, end: words.next()?.parse().ok()? };
            expression.get(span.clone())?;
            let message = body.trim_end().to_owned();
            Some(Err(FilterError::Syntax { expression: expression.to_owned(), span, message }))
        }
        _ => None,
    }
}

/// The worker's side, for a process that does nothing else: it lowers its own limits for good, reads one request and writes
/// the answer. Out of time it ends by a signal, out of memory by an abort.
pub fn serve_worker(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut request = String::new();
    input.take(REQUEST_BYTES_MAX).read_to_string(&mut request)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a request for the filter compiler");
    let (head, expression) = request.split_once('\n').ok_or_else(malformed)?;
    let numbers: Vec<u64> = head.split(' ').map_while(|word| word.parse().ok()).collect();
    let [link_type, optimize, cpu_seconds, memory_bytes] = numbers[..] else { return Err(malformed()) };
    let link_type = LinkType(u16::try_from(link_type).map_err(|_| malformed())?);
    let optimize = if optimize == 1 { Optimize::Yes } else { Optimize::No };
    let interfaces = interfaces_of(head);
    let target = target_of(head, link_type, &interfaces);
    limit_this_process(cpu_seconds, memory_bytes)?;
    let answer = thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || answer_to(expression, target, optimize))?
            .join()
            .map_err(|_| io::Error::other("the compiler panicked"))
    })?;
    output.write_all(answer.as_bytes())?;
    output.flush()
}

fn limit_this_process(cpu_seconds: u64, memory_bytes: u64) -> io::Result<()> {
    let limit =
        |resource, soft, hard| setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) });
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Cpu, cpu_seconds, cpu_seconds + 1)?;
    Ok(limit(Resource::As, memory_bytes, memory_bytes)?)
}

fn answer_to(expression: &str, target: CompileTarget<'_>, optimize: Optimize) -> String {
    let compiled = guard::check(expression).and_then(|_| compile_checked(expression, target, optimize));
    match compiled {
        Ok(program) => {
            let mut answer = format!("{PROGRAM} {}\n", program.len());
            for RawInstruction { code, jt, jf, k } in program {
                // Writing to a string does not fail.
                let _ = writeln!(answer, "{code} {jt} {jf} {k}");
            }
            answer
        }
        Err(FilterError::RejectsAll { .. }) => format!("{REJECTS_ALL}\n"),
        Err(FilterError::NoHandle { reason }) => format!("{NO_HANDLE}\n{reason}\n"),
        Err(FilterError::Syntax { span, message, .. }) => {
            format!("{ERROR} {} {}\n{message}\n", span.start, span.end)
        }
        Err(error) => format!("{ERROR} 0 {}\n{error}\n", expression.len()),
    }
}
