//! Answers as rows, for programs that read them one by one: CSV, JSON lines, and the logs of other tools.
//!
//! The form of an answer is what `format` says, else what the client accepts best (RFC 9110, section 12.5.1). What rows cannot say
//! stands in headers: completeness, totals, the cursor of the next page.

use std::io;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use netrewind_extractor::flows::{CsvRow, PageCursor, Totals, write_csv, write_json_lines};
use netrewind_extractor::packet_list::PacketCursor;
use netrewind_extractor::{ANSWER_HEADER, COMPLETENESS_HEADER, Completeness, Hint};
use serde::Serialize;
use utoipa::ToSchema;

use crate::fields::Fields;
use crate::headers::{Summary, header_value};
use crate::problem::{Kind, Problem};

/// Media type of JSON lines.
const NDJSON: &str = "application/x-ndjson";
/// Headers of a request that decide about the form of the answer: the layer of compression looks at the second.
const VARIES: &str = "accept, accept-encoding";
/// Thousandths of a quality value.
const QUALITY_MAX: u16 = 1000;

/// Form of a list of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ListFormat {
    /// One document.
    Json,
    /// Rows with a head.
    Csv,
    /// An object a line.
    Ndjson,
    /// Suricata's EVE log: `flow` events, one a line.
    Eve,
    /// Zeek's `conn.log`: tab-separated, with its head.
    Zeek,
}

/// Form of another list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its description is used")]
pub enum RowFormat {
    /// One document.
    Json,
    /// Rows with a head.
    Csv,
    /// An object a line.
    Ndjson,
}

impl ListFormat {
    /// Forms of every list; what a client accepts chooses among them.
    pub const OF_ROWS: &[Self] = &[Self::Json, Self::Csv, Self::Ndjson];
    /// Forms of a list of conversations.
    pub const OF_CONVERSATIONS: &[Self] = &[Self::Json, Self::Csv, Self::Ndjson, Self::Eve, Self::Zeek];

    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Eve => "eve",
            Self::Zeek => "zeek",
        }
    }

    /// Its media type.
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Ndjson | Self::Eve => NDJSON,
            Self::Zeek => "text/tab-separated-values",
        }
    }
}

/// Media types that a client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted(Option<String>);

impl Accepted {
    /// Those of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let values: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        Self(Some(values.join(",")).filter(|accepted| !accepted.trim().is_empty()))
    }

    /// The form of an answer: the one that `format` names, else the one that is accepted best.
    pub fn format(&self, fields: &mut Fields, offered: &[ListFormat]) -> Result<ListFormat, Problem> {
        let Some(text) = fields.text("format")? else { return self.best() };
        offered.iter().copied().find(|format| format.name() == text).ok_or_else(|| {
            let names: Vec<_> = offered.iter().map(|format| format.name()).collect();
            crate::fields::bad_value("format", &text, &format!("one of {}", names.join(", ")))
        })
    }

    fn best(&self) -> Result<ListFormat, Problem> {
        let Some(accepted) = &self.0 else { return Ok(ListFormat::Json) };
        let rated = ListFormat::OF_ROWS.iter().map(|form| (quality(accepted, form.media_type()), *form));
        // Of equals the first.
        let best = rated.rev().max_by_key(|(quality, _)| *quality).filter(|(quality, _)| *quality > 0);
        best.map(|(_, format)| format).ok_or_else(|| {
            let offered: Vec<_> = ListFormat::OF_ROWS.iter().map(|format| format.media_type()).collect();
            let detail = format!("Accept: the answer can be {}", offered.join(", "));
            Problem::new(Kind::NotAcceptable, detail).with("offered", offered)
        })
    }
}

/// Quality of a media type for a client, in thousandths: what the most specific range that contains it says.
fn quality(accepted: &str, media_type: &str) -> u16 {
    let (main_type, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let mut found = (0, 0);
    for range in accepted.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match name.as_str() {
            "*/*" => 1,
            name if name == media_type => 3,
            name if name.strip_suffix("/*") == Some(main_type) => 2,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |text| text.parse::<f32>().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
        let weight = (weight * f32::from(QUALITY_MAX)) as u16;
        found = found.max((specific, weight));
    }
    found.1
}

/// Facts about an answer that its rows do not tell.
#[derive(Debug, Serialize)]
pub struct RowsAccount {
    /// Rows of the answer.
    rows: u64,
    /// Totals of all conversations, or packets, that the answer counts; of other pages as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Totals>,
    /// Packets that the rows count.
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    /// Their bytes on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Packets of addresses that have no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncounted: Option<u64>,
    /// Conversations that have no row, because they have no addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
    /// Cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// True if what is counted may be less than there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate: Option<bool>,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Hint>,
}

impl RowsAccount {
    /// Account of an answer with this completeness.
    pub fn new(completeness: &Completeness) -> Self {
        Self {
            rows: 0,
            totals: None,
            packets: None,
            bytes: None,
            uncounted: None,
            left_out: None,
            next: None,
            approximate: None,
            summary: completeness.into(),
            hint: None,
        }
    }

    /// With totals.
    pub fn counting(self, totals: Totals, approximate: bool) -> Self {
        Self { totals: Some(totals), approximate: Some(approximate), ..self }
    }

    /// Of so many packets, with these bytes on the wire.
    pub fn of_packets(self, packets: u64, bytes: u64) -> Self {
        Self { packets: Some(packets), bytes: Some(bytes), ..self }
    }

    /// Without the rows that so many packets would have had.
    pub fn without(self, uncounted: u64) -> Self {
        Self { uncounted: (uncounted > 0).then_some(uncounted), ..self }
    }

    /// With the cursor of the next page of conversations.
    pub fn before(self, next: Option<PageCursor>) -> Self {
        Self { next: next.map(|next| next.to_string()), ..self }
    }

    /// With the cursor of the next page of packets.
    pub fn before_packet(self, next: Option<PacketCursor>) -> Self {
        Self { next: next.map(|next| next.to_string()), ..self }
    }

    /// With a hint for another query.
    pub fn hinting(self, hint: Option<Hint>) -> Self {
        Self { hint, ..self }
    }

    /// Response with rows in this form; `whole` for one document of JSON.
    pub fn respond<R: CsvRow + Serialize>(
        self,
        format: ListFormat,
        rows: &[R],
        whole: &impl Serialize,
    ) -> Response {
        match format {
            ListFormat::Csv => self.written(format, rows.len(), |body| write_csv(rows, body).map(|()| 0)),
            ListFormat::Ndjson => {
                self.written(format, rows.len(), |body| write_json_lines(rows, body).map(|()| 0))
            }
            ListFormat::Json | ListFormat::Eve | ListFormat::Zeek => document(whole),
        }
    }

    /// Response with what `write` writes, which returns the number of rows that it leaves out.
    pub fn written(
        mut self,
        format: ListFormat,
        rows: usize,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<u64>,
    ) -> Response {
        let mut body = Vec::new();
        let left_out = match write(&mut body) {
            Ok(left_out) => left_out,
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written in rows");
                return Problem::new(Kind::Failed, "the answer cannot be written in rows").into_response();
            }
        };
        self.rows = (rows as u64).saturating_sub(left_out);
        self.left_out = (left_out > 0).then_some(left_out);
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(format.media_type())),
            (header::VARY, HeaderValue::from_static(VARIES)),
            (HeaderName::from_static(COMPLETENESS_HEADER), header_value(&self.summary)),
            (HeaderName::from_static(ANSWER_HEADER), header_value(&self)),
        ];
        (headers, body).into_response()
    }
}

/// Response with one document of JSON.
pub fn document(answer: &impl Serialize) -> Response {
    ([(header::VARY, HeaderValue::from_static(VARIES))], Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(accepted: &str) -> Option<ListFormat> {
        Accepted(Some(accepted.to_owned())).best().ok()
    }

    #[test]
    fn the_form_is_the_one_that_is_accepted_best() {
        use ListFormat::{Csv, Json, Ndjson};
        for (accepted, expected) in [
            ("*/*", Some(Json)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Json)),
            ("text/csv", Some(Csv)),
            ("Text/CSV; header=present", Some(Csv)),
            ("text/*", Some(Csv)),
            ("text/csv;q=0.5, application/x-ndjson", Some(Ndjson)),
            ("application/json;q=0, */*", Some(Csv)),
            ("application/*;q=0.2, text/csv;q=0.1", Some(Json)),
            ("application/json;q=0", None),
            ("image/png", None),
        ] {
            assert_eq!(best(accepted), expected, "{accepted}");
        }
        assert_eq!(Accepted(None).best().ok(), Some(Json));
    }
}
