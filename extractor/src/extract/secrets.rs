//! TLS secrets that came with imported packets: given to sinks that can hold them, before the packets.

use netrewind_store::Store;
use netrewind_store::store::secret_files::{SecretFiles, SecretsFault};

use crate::answer::completeness::{Completeness, Damage};
use crate::answer::error::SinkError;
use crate::query::Query;
use crate::sink::{SECRETS_PIECE_BYTES, Sink};

/// Bytes of secrets of one answer.
pub const ANSWER_SECRETS_BYTES_MAX: u64 = 64 << 20;

/// What has to be said of the secrets of an answer.
#[derive(Debug, Default)]
pub(super) struct SecretsRemarks {
    damaged: Vec<Damage>,
    notes: Vec<String>,
}

impl SecretsRemarks {
    /// Adds them to the completeness of the answer. No packet is missing because of them.
    pub(super) fn add_to(self, completeness: &mut Completeness) {
        completeness.damaged.extend(self.damaged);
        completeness.notes.extend(self.notes);
    }
}

/// Gives the secrets of the time that the query asks for to a sink that has begun.
pub(super) fn give_secrets(
    store: &Store,
    query: &Query,
    sink: &mut dyn Sink,
) -> Result<SecretsRemarks, SinkError> {
    let mut remarks = SecretsRemarks::default();
    // Secrets decrypt more than the packets that such an asker may have.
    if !query.secrets || query.is_restricted() || !sink.wants().secrets {
        return Ok(remarks);
    }
    let files = SecretFiles::of(store);
    let listed = match files.list() {
        Ok(listed) => listed,
        Err(error) => {
            let part = store.part(&files.folder());
            remarks.damaged.push(Damage { part, reason: error.to_string(), is_needed: false });
            return Ok(remarks);
        }
    };
    let (mut given, mut forbidden, mut unfit) = (0, 0, 0);
    for secrets in &listed {
        let is_needed = secrets.head.as_ref().map(|head| head.overlaps(query.from, query.to));
        let read = match is_needed {
            Ok(false) => continue,
            Ok(true) if given + secrets.bytes > ANSWER_SECRETS_BYTES_MAX => {
                unfit += 1;
                continue;
            }
            Ok(true) => files.read(secrets),
            Err(fault) => Err(fault.clone()),
        };
        match read {
            Ok(None) => {} // it has expired
            Ok(Some(key_log)) => {
                given += key_log.len() as u64;
                pieces(&key_log).try_for_each(|piece| sink.secrets(piece))?;
            }
            Err(SecretsFault::Forbidden) => forbidden += 1,
            Err(fault) => {
                let part = store.part(&files.path(secrets));
                let reason = format!("TLS secrets: {fault}");
                remarks.damaged.push(Damage { part, reason, is_needed: false });
            }
        }
    }
    if forbidden > 0 {
        let text = format!("{forbidden} files of TLS secrets in the store may not be read by this user");
        remarks.notes.push(text);
    }
    if unfit > 0 {
        remarks.notes.push(format!(
            "{unfit} files of TLS secrets are not in the answer, which holds {} MiB of them: ask for a shorter time",
            ANSWER_SECRETS_BYTES_MAX >> 20
        ));
    }
    Ok(remarks)
}

/// Bytes at most of the secrets of the time that the query asks for, where its asker may have them.
pub(super) fn secrets_bytes(store: &Store, query: &Query) -> u64 {
    if query.is_restricted() {
        return 0;
    }
    let listed = SecretFiles::of(store).list().unwrap_or_default();
    let of_time = listed
        .iter()
        .filter(|secrets| secrets.head.as_ref().is_ok_and(|head| head.overlaps(query.from, query.to)));
    of_time.map(|secrets| secrets.bytes).sum::<u64>().min(ANSWER_SECRETS_BYTES_MAX)
}

/// Whole lines, as many as fit; a longer line is divided.
fn pieces(key_log: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = key_log;
    std::iter::from_fn(move || {
        let most = rest.get(..SECRETS_PIECE_BYTES).unwrap_or(rest);
        let whole = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |at| at + 1);
        let (piece, behind) =
            rest.split_at_checked(if most.len() < rest.len() { whole } else { most.len() })?;
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_and_lose_nothing() {
        let line = b"CLIENT_RANDOM 0123456789abcdef 0123456789abcdef\n";
        for (bytes, count) in [
            (Vec::new(), 0),
            (line.to_vec(), 1),
            (line.repeat(2 * (SECRETS_PIECE_BYTES / line.len()) + 1), 3),
            (vec![b'x'; SECRETS_PIECE_BYTES + 1], 2),
            (line[..20].to_vec(), 1),
        ] {
            let all: Vec<_> = pieces(&bytes).collect();
            assert_eq!((all.concat(), all.len()), (bytes.clone(), count));
            let cut = all.iter().rev().skip(1).filter(|piece| !piece.ends_with(b"\n")).count();
            assert_eq!(cut, usize::from(bytes.starts_with(b"x")));
        }
    }
}
