//! The account at the end of a recording.

use netrewind_recorder::recorder::{RecordingSummary, SourceAccount, by_source};
use netrewind_store::Account;

use crate::outcome::{Failure, Outcome};
use crate::terminal;

fn in_json(source: &SourceAccount) -> serde_json::Value {
    let Account { received, written, dropped, bytes, .. } = source.account;
    serde_json::json!({
        "name": source.name,
        "received": received,
        "written": written,
        "dropped": { "kernel": dropped.kernel, "disk": dropped.disk },
        "bytes": bytes,
    })
}

/// Prints the account.
pub fn report_account(
    summary: &RecordingSummary,
    notices_said: usize,
    json: bool,
) -> Result<Outcome, Failure> {
    summary.notices.iter().skip(notices_said).for_each(terminal::say);
    let Account { received, written, dropped, bytes, segments } = summary.account;
    terminal::say(format_args!(
        "{received} packets received = {written} written + {} dropped by the kernel + {} by the disk; {} in {segments} segments",
        dropped.kernel,
        dropped.disk,
        terminal::bytes(bytes)
    ));
    let sources = by_source(&summary.lanes);
    for SourceAccount { name, account, down, is_broken, .. } in &sources {
        if sources.len() > 1 {
            let Account { received, written, .. } = account;
            terminal::say(format_args!("  {name}: {received} received, {written} written"));
        }
        // What cannot come back has been told already.
        if let Some(reason) = down.as_ref().filter(|_| !is_broken) {
            terminal::say(format_args!("{name}: {reason}"));
        }
    }
    if json {
        let account = serde_json::json!({
            "received": received,
            "written": written,
            "dropped": { "kernel": dropped.kernel, "disk": dropped.disk },
            "bytes": bytes,
            "segments": segments,
            "sources": sources.iter().map(in_json).collect::<Vec<_>>(),
        });
        terminal::if_read(terminal::print(account))?;
    }
    summary
        .discrepancies
        .iter()
        .for_each(|text| terminal::say(format_args!("the packet counts do not add up: {text}")));
    if dropped.disk > 0 {
        let reason = summary
            .last_trouble
            .as_deref()
            .unwrap_or("files of the store were removed while they were written");
        terminal::say(format_args!("{} packets were dropped by the disk: {reason}", dropped.disk));
    }
    if let Some(reason) = &summary.failure {
        terminal::say(format_args!("recording stopped: {reason}"));
    }
    let is_kept = dropped.disk == 0 && summary.failure.is_none() && summary.unable.is_none();
    let is_whole =
        is_kept && summary.discrepancies.is_empty() && !sources.iter().any(|source| source.is_broken);
    Ok(if is_whole { Outcome::Done } else { Outcome::Incomplete })
}
