//! `/api/v1/packets/list`: packets in lines, a page at a time.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use netrewind_extractor::packet_list::{LISTED_PACKETS_MAX, PacketCursor, PacketList, PacketListQuery};
use netrewind_extractor::{Completeness, Control, Extractor, Query, Work};
use utoipa::IntoParams;

use crate::audited::{AuditFacts, AuditedQuery, PACKET_LIST};
use crate::blocking::{ClientControl, hint_for};
use crate::fields::Fields;
use crate::flows::at_least_one;
use crate::identity::Identity;
use crate::parameters::{Conversations, Selection};
use crate::problem::Problem;
use crate::request::fields_of;
use crate::rows::{Accepted, ListFormat, RowFormat, RowsAccount};
use crate::service::Service;

/// Page of a packet list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct ListPage {
    /// Largest number of packets. Absent: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// The `next` of the page before, or the `cursor` of the packet to begin with: it fixes the range.
    cursor: Option<String>,
    /// With the bytes of each packet; a page then ends after a mebibyte of them.
    bytes: Option<bool>,
    /// Form of the answer. Absent: what `Accept` says, or `json`.
    #[param(inline)]
    format: Option<RowFormat>,
}

/// Packets in lines, a page at a time
///
/// Exact time, ends, protocol and a summary of each packet. A page is read from where it begins.
#[utoipa::path(get, path = "/api/v1/packets/list", tag = "packets", params(Selection, Conversations, ListPage), responses(
    (status = 200, description = "A page of packets", content(
        (PacketList = "application/json"), (String = "text/csv"), (String = "application/x-ndjson")
    ), headers(
        ("Netrewind-Completeness" = String, description = "Of rows: completeness, as JSON"),
        ("Netrewind-Answer" = String, description = "Of rows: their number, completeness, and what else a document has beside its lists, as JSON"),
    ))
))]
pub async fn packet_list(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let accepted = Accepted::of(request.headers());
    let mut fields = fields_of(request, &service).await?;
    let (selection, conversations) =
        (Selection::from_fields(&mut fields)?, Conversations::from_fields(&mut fields)?);
    let page = page(&mut fields)?;
    let format = accepted.format(&mut fields, ListFormat::OF_ROWS)?;
    fields.end()?;
    let query = service.query_of(&identity, selection, conversations)?;
    let is_restricted = identity.filter.is_some();
    let audited =
        AuditedQuery { service: Arc::clone(&service), identity, what: PACKET_LIST, flow: query.flow, query };
    let work = move |extractor: &Extractor, query: &Query, control: &mut ClientControl<'_>| {
        let service = control.service();
        let begun = service.clock.now();
        let mut list = extractor.list_packets(query, page, control)?;
        if list.packets.is_empty() && page.start.is_none() {
            list.hint = hint_for(service, query, begun, &|| control.cancelled());
        }
        Ok(list)
    };
    let mut list = audited.answer(&service.packets, None, work).await?;
    if is_restricted {
        // The number of examined packets depends on those that the asker may not know of.
        list.work = Work::default();
    }
    let account = RowsAccount::new(&list.completeness).before_packet(list.next).hinting(list.hint.clone());
    Ok(account.respond(format, &list.packets, &list))
}

fn page(fields: &mut Fields) -> Result<PacketListQuery, Problem> {
    let limit = at_least_one(fields, "limit", LISTED_PACKETS_MAX as u64)?;
    let start =
        fields.parsed("cursor", "the next of a page of packets", |text| text.parse::<PacketCursor>().ok())?;
    let plain = PacketListQuery::default();
    Ok(PacketListQuery { limit: limit.unwrap_or(plain.limit), start, with_bytes: fields.flag("bytes")? })
}

impl AuditFacts for PacketList {
    fn completeness(&self) -> Option<&Completeness> {
        Some(&self.completeness)
    }

    fn given_packets(&self) -> u64 {
        self.packets.len() as u64
    }

    fn given_bytes(&self) -> u64 {
        let with_bytes = self.packets.iter().filter(|packet| packet.bytes.is_some());
        with_bytes.map(|packet| u64::from(packet.captured)).sum()
    }
}
