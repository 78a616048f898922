//! Compiles expressions into programs with libpcap, without trusting it not to look names up, or to end.

use netrewind_store::LinkType;

use super::diagnosis::compile_checked;
use super::error::FilterError;
use super::guard;
use super::instruction::RawInstruction;
use super::limits::CompileLimits;
use super::lists::compile_lists;
use super::program::Program;
use super::remedy::with_remedy;
use super::target::{CompileTarget, Optimize};
use super::worker::compile_in_worker;

/// Larger expressions are not optimized: libpcap takes time in the cube of their size. 300 hosts, which are as large, take
/// 1.4 s with the optimizer; 1,000 take 3.8 s without.
const OPTIMIZED_TOKENS_MAX: usize = 900;

/// Compiles an expression of pcap-filter(7) for packets of a link type, exactly as `tcpdump -r` does on a file of that
/// link type. An empty expression accepts every packet.
///
/// Expressions too large for libpcap's optimizer are compiled without it, by the worker; see [`CompileLimits`].
pub fn compile(
    expression: &str,
    link_type: LinkType,
    limits: &CompileLimits,
) -> Result<Program, FilterError> {
    compile_while_wanted(expression, link_type, limits, &|| false)
}

/// Compiles as [`compile`] does, as long as a query waits for it.
pub(super) fn compile_while_wanted(
    expression: &str,
    link_type: LinkType,
    limits: &CompileLimits,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Program, FilterError> {
    if let Some(program) = compile_quickly(expression, link_type, limits) {
        return program;
    }
    let tokens = check(expression, link_type, limits)?;
    let raw = compile_large(expression, tokens, CompileTarget::File(link_type), limits, is_given_up)?;
    Ok(Program::decode(link_type, &raw)?)
}

/// Compiles as [`compile`] does, if that takes milliseconds; `None` if it may take longer.
pub(super) fn compile_quickly(
    expression: &str,
    link_type: LinkType,
    limits: &CompileLimits,
) -> Option<Result<Program, FilterError>> {
    let tokens = match check(expression, link_type, limits) {
        Ok(tokens) => tokens,
        Err(error) => return Some(Err(error)),
    };
    if tokens > limits.in_process_tokens_max {
        return compile_lists(expression, link_type).map(Ok);
    }
    let raw = compile_checked(expression, link_type, Optimize::Yes);
    Some(raw.and_then(|raw| Ok(Program::decode(link_type, &raw)?)))
}

/// Compiles a capture filter for packets of a link type as the kernel shows them to a packet socket, exactly as
/// `tcpdump -i` does. For Ethernet libpcap has to open one of `interfaces`, of which one must be of Ethernet and up, and
/// which needs CAP_NET_RAW.
pub fn compile_for_socket(
    expression: &str,
    link_type: LinkType,
    interfaces: &[String],
    limits: &CompileLimits,
) -> Result<Vec<RawInstruction>, FilterError> {
    compile_for(expression, CompileTarget::Socket(link_type, interfaces), limits)
}

/// Refuses what [`compile_for_socket`] would refuse; no interface is needed.
pub fn check_for_socket(
    expression: &str,
    link_type: LinkType,
    limits: &CompileLimits,
) -> Result<(), FilterError> {
    compile_for(expression, CompileTarget::Errors(link_type), limits).map(drop)
}

fn compile_for(
    expression: &str,
    target: CompileTarget<'_>,
    limits: &CompileLimits,
) -> Result<Vec<RawInstruction>, FilterError> {
    let tokens = check(expression, target.link_type(), limits)?;
    if tokens <= limits.in_process_tokens_max {
        compile_checked(expression, target, Optimize::Yes)
    } else {
        compile_large(expression, tokens, target, limits, &|| false)
    }
}

/// True if an expression is compiled by a worker.
pub fn is_large(expression: &str, limits: &CompileLimits) -> bool {
    guard::check(expression).is_ok_and(|tokens| tokens > limits.in_process_tokens_max)
}

/// Checks that an expression may be compiled, and counts its tokens.
fn check(expression: &str, link_type: LinkType, limits: &CompileLimits) -> Result<usize, FilterError> {
    if expression.len() > limits.text_bytes_max {
        return Err(FilterError::TooLong { bytes: expression.len(), bytes_max: limits.text_bytes_max });
    }
    guard::check(expression).map_err(|error| with_remedy(error, link_type))
}

/// Compiles in the worker, and once more without the optimizer if that runs into its limits.
fn compile_large(
    expression: &str,
    tokens: usize,
    target: CompileTarget<'_>,
    limits: &CompileLimits,
    is_given_up: &dyn Fn() -> bool,
) -> Result<Vec<RawInstruction>, FilterError> {
    let Some(worker) = &limits.worker else {
        return Err(FilterError::NoWorker { tokens, tokens_max: limits.in_process_tokens_max });
    };
    let by_worker = |optimize| compile_in_worker(worker, expression, target, optimize, limits, is_given_up);
    if tokens > OPTIMIZED_TOKENS_MAX {
        return by_worker(Optimize::No);
    }
    match by_worker(Optimize::Yes) {
        Err(FilterError::TooExpensive { .. }) => by_worker(Optimize::No),
        compiled => compiled,
    }
}
