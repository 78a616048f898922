//! Observations beside a flow's key, stored for those flows that have any.
//!
//! `FORMAT.md`, "Observations", is normative.

use crate::blocks::BlockWriter;
use crate::column::{self, BLOCK_ROWS, Values, take_values};
use crate::layout::Section;

/// Subject of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LabelKey {
    /// The protocol that was recognised.
    Application,
    /// The name that a TLS, DTLS or QUIC client asks for.
    ServerName,
    /// A protocol that it offers.
    Alpn,
    /// Its fingerprint.
    Ja4,
    /// The version that the server chose; where that was not seen the highest that the client offers.
    TlsVersion,
    /// Method of an HTTP request.
    HttpMethod,
    /// Likewise.
    HttpHost,
    /// Likewise.
    HttpUserAgent,
    /// The name that is asked for.
    DnsQuestion,
    /// The record type that is asked for.
    DnsType,
    /// An address, name or text of the answer.
    DnsAnswer,
    /// Identification string that an end of SSH sends first.
    SshBanner,
    /// The version of QUIC.
    QuicVersion,
}

impl LabelKey {
    /// All keys by their numbers in an index.
    pub const ALL: [Self; 13] = [
        Self::Application,
        Self::ServerName,
        Self::Alpn,
        Self::Ja4,
        Self::TlsVersion,
        Self::HttpMethod,
        Self::HttpHost,
        Self::HttpUserAgent,
        Self::DnsQuestion,
        Self::DnsType,
        Self::DnsAnswer,
        Self::SshBanner,
        Self::QuicVersion,
    ];

    /// Its name, as `server_name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::ServerName => "server_name",
            Self::Alpn => "alpn",
            Self::Ja4 => "ja4",
            Self::TlsVersion => "tls_version",
            Self::HttpMethod => "http_method",
            Self::HttpHost => "http_host",
            Self::HttpUserAgent => "http_user_agent",
            Self::DnsQuestion => "dns_question",
            Self::DnsType => "dns_type",
            Self::DnsAnswer => "dns_answer",
            Self::SshBanner => "ssh_banner",
            Self::QuicVersion => "quic_version",
        }
    }

    /// The key with a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    fn of_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// A label: what it is about, and the number of its text.
pub(crate) type Label = (LabelKey, u32);

/// Observations of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The flow's number.
    pub flow: u32,
    /// The round trip of its conversation's handshake, in nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// Segments that the flow's sender has sent again.
    pub retransmissions: u64,
    /// Segments that came later than ones that were sent after them.
    pub out_of_order: u64,
    pub(crate) labels: Vec<Label>,
}

impl Observation {
    /// True if the labels of its conversation are stored with this flow.
    pub fn has_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// Its labels, their texts by number as [`crate::Observations::visit_texts`] gives them.
    pub fn labels(&self) -> impl Iterator<Item = (LabelKey, u32)> {
        self.labels.iter().copied()
    }
}

/// Writes the blocks of rows in the order of their flows.
pub(crate) fn put(rows: &[Observation]) -> BlockWriter {
    let mut writer = BlockWriter::new(Section::Observations);
    for rows in rows.chunks(BLOCK_ROWS) {
        writer.put(&rows[0].flow.to_le_bytes(), |block| put_block(block, rows));
    }
    writer
}

fn put_block(block: &mut Vec<u8>, rows: &[Observation]) {
    let mut put = |values: Vec<u64>| column::put(block, &values);
    let mut before = rows[0].flow;
    let step = |row: &Observation| u64::from(row.flow - std::mem::replace(&mut before, row.flow));
    put(rows.iter().map(step).collect());
    put(rows.iter().map(|row| u64::from(row.round_trip_ns.is_some())).collect());
    put(rows.iter().filter_map(|row| row.round_trip_ns).collect());
    put(rows.iter().map(|row| row.retransmissions).collect());
    put(rows.iter().map(|row| row.out_of_order).collect());
    put(rows.iter().map(|row| row.labels.len() as u64).collect());
    let labels: Vec<Label> = rows.iter().flat_map(|row| row.labels.iter().copied()).collect();
    for labels in labels.chunks(BLOCK_ROWS) {
        put(labels.iter().map(|(key, _)| *key as u64).collect());
        put(labels.iter().map(|(_, text)| u64::from(*text)).collect());
    }
}

/// Labels that a row of a well-formed block has at most.
const LABELS_MAX: u64 = 256;

/// Reads a block of so many rows; `first` is its key in the directory.
pub(crate) fn decode(mut block: &[u8], rows: usize, first: u32) -> Option<Vec<Observation>> {
    let input = &mut block;
    let mut values: Values = [0; BLOCK_ROWS];
    let mut observations = vec![Observation::default(); rows];
    take_values(input, rows, &mut values)?;
    let mut flow = first;
    for (row, &step) in observations.iter_mut().zip(&values) {
        flow = flow.checked_add(u32::try_from(step).ok()?)?;
        row.flow = flow;
    }
    take_values(input, rows, &mut values)?;
    let has_round_trip: Vec<bool> = values.iter().take(rows).map(|&has| has != 0).collect();
    let known = has_round_trip.iter().filter(|has| **has).count();
    take_values(input, known, &mut values)?;
    let with = observations.iter_mut().zip(&has_round_trip).filter(|(_, has)| **has);
    with.zip(&values).for_each(|((row, _), &value)| row.round_trip_ns = Some(value));
    take_values(input, rows, &mut values)?;
    observations.iter_mut().zip(&values).for_each(|(row, &value)| row.retransmissions = value);
    take_values(input, rows, &mut values)?;
    observations.iter_mut().zip(&values).for_each(|(row, &value)| row.out_of_order = value);
    take_values(input, rows, &mut values)?;
    take_labels(input, &mut observations, &values)?;
    Some(observations)
}

fn take_labels(input: &mut &[u8], observations: &mut [Observation], counts: &Values) -> Option<()> {
    let mut count = 0;
    for &labels in counts.iter().take(observations.len()) {
        count += usize::try_from(labels).ok().filter(|_| labels <= LABELS_MAX)?;
    }
    let mut labels = Vec::with_capacity(count);
    while labels.len() < count {
        let rows = (count - labels.len()).min(BLOCK_ROWS);
        let (mut keys, mut texts) = ([0; BLOCK_ROWS], [0; BLOCK_ROWS]);
        take_values(input, rows, &mut keys)?;
        take_values(input, rows, &mut texts)?;
        for (&key, &text) in keys.iter().zip(&texts).take(rows) {
            labels.push((LabelKey::of_number(key)?, u32::try_from(text).ok()?));
        }
    }
    let mut labels = labels.into_iter();
    for (row, &count) in observations.iter_mut().zip(counts) {
        row.labels.extend(labels.by_ref().take(count as usize));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BlockReader;
    use proptest::prelude::*;

    fn any_row() -> impl Strategy<Value = Observation> {
        let label = (0..LabelKey::ALL.len(), any::<u32>()).prop_map(|(key, text)| (LabelKey::ALL[key], text));
        let labels = proptest::collection::vec(label, 0..6);
        (1u32..5000, any::<Option<u64>>(), 0u64..9, 0u64..9, labels).prop_map(
            |(flow, round_trip_ns, retransmissions, out_of_order, labels)| Observation {
                flow,
                round_trip_ns,
                retransmissions,
                out_of_order,
                labels,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_come_back(mut rows in proptest::collection::vec(any_row(), 0..400)) {
            let mut flow = 0;
            for row in &mut rows {
                flow += row.flow;
                row.flow = flow;
            }
            let writer = put(&rows);
            let count = rows.len() as u32;
            let blocks: BlockReader<'_, 4> =
                BlockReader::new(Section::Observations, &writer.blocks, &writer.directory, count).unwrap();
            let mut decoded = Vec::new();
            for block in 0..blocks.count() {
                let first = u32::from_le_bytes(blocks.key(block));
                decoded.extend(decode(blocks.block(block).unwrap(), blocks.rows_of(block), first).unwrap());
            }
            prop_assert_eq!(decoded, rows);
        }

        #[test]
        fn any_bytes_are_rows_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0..=BLOCK_ROWS) {
            let _ = decode(&bytes, rows, 0);
        }
    }

    #[test]
    fn all_that_is_visited_has_a_key() {
        use netrewind_labels::{Dns, Http, Ja4, Labels, Question, ResourceRecord, Ssh, Tls};
        let text = || Some(Box::from("x"));
        let labels = Labels {
            application: "all",
            is_guess: false,
            tls: Some(Tls {
                server_name: text(),
                alpn: vec!["h2".into()],
                ja4: None::<Ja4>,
                version: Some(0x0304),
                ..Tls::default()
            }),
            http: Some(Http { method: "GET".into(), host: text(), user_agent: text() }),
            dns: Some(Dns {
                question: Some(Question { name: "x".into(), ..Question::default() }),
                answers: vec![ResourceRecord { record_type: 1, value: "x".into() }],
                response_code: None,
            }),
            ssh: Some(Ssh { forward: text(), backward: text() }),
            quic_version: Some(1),
        };
        let mut keys = vec![LabelKey::Ja4];
        labels.visit(|key, _| keys.push(LabelKey::of_name(key).expect(key)));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys, LabelKey::ALL);
    }
}
