//! Messages of IPFIX: RFC 7011, section 3.

use crate::elements::{Field, REVERSE_ENTERPRISE, fields_of};
use crate::flow_record::FlowRecord;

/// Bytes of a message: what fits into a packet of Ethernet, with room for headers of tunnels (RFC 7011, section 10.3.3).
pub const MESSAGE_BYTES_MAX: usize = 1400;
/// The version of IPFIX.
const VERSION: u16 = 10;
/// Offsets in the header of a message: length; export time, in seconds since 1970; sequence number; observation domain.
const LENGTH_AT: usize = 2;
const EXPORT_TIME_AT: usize = 4;
const SEQUENCE_AT: usize = 8;
const DOMAIN_AT: usize = 12;
const HEADER_BYTES: usize = 16;
/// Header of a set: its id, and its length.
const SET_HEADER_BYTES: usize = 4;
const SET_LENGTH_AT: usize = 2;
/// The set of templates.
const TEMPLATE_SET: u16 = 2;
/// Templates of records with IPv4 and with IPv6 addresses; sets of records have the numbers of their templates.
const TEMPLATE_IPV4: u16 = 256;
const TEMPLATE_IPV6: u16 = 257;
/// Bit of an element's number that says that an enterprise's follows.
const ENTERPRISE_BIT: u16 = 0x8000;

/// A message, whose export time and sequence number are set when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMessage {
    bytes: Vec<u8>,
    records: u32,
}

impl FlowMessage {
    fn begin(domain: u32) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        put(&mut bytes, 0, &VERSION.to_be_bytes());
        put(&mut bytes, DOMAIN_AT, &domain.to_be_bytes());
        Self { bytes, records: 0 }
    }

    /// The templates of all records.
    pub fn of_templates(domain: u32) -> Self {
        let mut message = Self::begin(domain);
        let set = message.begin_set(TEMPLATE_SET);
        for (template, is_ipv6) in [(TEMPLATE_IPV4, false), (TEMPLATE_IPV6, true)] {
            let fields: Vec<&Field> = fields_of(is_ipv6).collect();
            let count = u16::try_from(fields.len()).unwrap_or(u16::MAX);
            message.bytes.extend([template, count].iter().flat_map(|number| number.to_be_bytes()));
            for field in fields {
                let id = if field.is_reverse { field.id | ENTERPRISE_BIT } else { field.id };
                message.bytes.extend([id, field.length].iter().flat_map(|number| number.to_be_bytes()));
                if field.is_reverse {
                    message.bytes.extend(REVERSE_ENTERPRISE.to_be_bytes());
                }
            }
        }
        message.end_set(set);
        message
    }

    fn begin_set(&mut self, id: u16) -> usize {
        let at = self.bytes.len();
        self.bytes.extend(id.to_be_bytes());
        self.bytes.extend([0, 0]);
        at
    }

    fn end_set(&mut self, at: usize) {
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        put(&mut self.bytes, at + SET_LENGTH_AT, &length.to_be_bytes());
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        put(&mut self.bytes, LENGTH_AT, &length.to_be_bytes());
    }

    /// Data records in it.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The message as it is sent at this time, after so many data records.
    pub fn stamped(&mut self, export_seconds: u32, sequence: u32) -> &[u8] {
        put(&mut self.bytes, EXPORT_TIME_AT, &export_seconds.to_be_bytes());
        put(&mut self.bytes, SEQUENCE_AT, &sequence.to_be_bytes());
        &self.bytes
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// Makes messages of records.
#[derive(Debug)]
pub struct MessageWriter {
    domain: u32,
    message: FlowMessage,
    /// Set that is being filled, by its template and its place.
    set: Option<(u16, usize)>,
    record: Vec<u8>,
}

impl MessageWriter {
    /// Messages of an observation domain.
    pub fn new(domain: u32) -> Self {
        Self { domain, message: FlowMessage::begin(domain), set: None, record: Vec::new() }
    }

    /// Adds a record; gives a message for which it would be too much.
    pub fn push(&mut self, record: &FlowRecord) -> Option<FlowMessage> {
        self.record.clear();
        fields_of(record.is_ipv6()).for_each(|field| (field.put)(record, &mut self.record));
        let template = if record.is_ipv6() { TEMPLATE_IPV6 } else { TEMPLATE_IPV4 };
        let is_same_set = self.set.is_some_and(|(of, _)| of == template);
        let needed = self.record.len() + if is_same_set { 0 } else { SET_HEADER_BYTES };
        let is_full = self.message.bytes.len() + needed > MESSAGE_BYTES_MAX;
        let full = if is_full { self.finish() } else { None };
        let at = match self.set {
            Some((of, at)) if of == template => at,
            _ => self.message.begin_set(template),
        };
        self.set = Some((template, at));
        self.message.bytes.extend_from_slice(&self.record);
        self.message.records += 1;
        self.message.end_set(at);
        full
    }

    /// The last message, if it has records.
    pub fn finish(&mut self) -> Option<FlowMessage> {
        self.set = None;
        let message = std::mem::replace(&mut self.message, FlowMessage::begin(self.domain));
        (message.records > 0).then_some(message)
    }
}
