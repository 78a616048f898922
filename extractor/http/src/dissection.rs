//! `/api/v1/packets/dissection`: one packet, taken apart by Wireshark's `sharkd`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::{Extension, Json};
use netrewind_extractor::packet_list::{ListedPacket, PacketCursor};
use netrewind_extractor::{Extractor, PacketContext, Query, packet_context};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::audited::{AuditFacts, AuditedQuery, DISSECTION};
use crate::blocking::ClientControl;
use crate::dissector::{Dissection, Dissector, DissectorError};
use crate::fields::bad_value;
use crate::identity::Identity;
use crate::parameters::{Conversations, Selection};
use crate::problem::{Kind, Problem};
use crate::request::fields_of;
use crate::service::Service;

/// A packet of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct DissectedPacket {
    /// Cursor of the packet, from a list of packets with the same parameters.
    cursor: String,
}

/// A packet, taken apart.
#[derive(Debug, Serialize, ToSchema)]
pub struct DissectionAnswer {
    /// The packet.
    packet: ListedPacket,
    /// Packets that the dissector was given, of which this one is the last: it counts frames among them.
    given_packets: usize,
    #[serde(flatten)]
    dissection: Dissection,
}

impl AuditFacts for Option<PacketContext> {
    fn given_packets(&self) -> u64 {
        self.as_ref().map_or(0, |context| context.packets as u64)
    }

    fn given_bytes(&self) -> u64 {
        self.as_ref().map_or(0, |context| context.capture.len() as u64)
    }
}

/// One packet, taken apart
///
/// Its whole protocol tree with the place of each field in its bytes, by Wireshark's `sharkd`, if the service has one (`--sharkd`). It
/// sees the packets of the same conversation before it, within limits, so that segments are put together.
#[utoipa::path(get, path = "/api/v1/packets/dissection", tag = "packets", params(Selection, Conversations, DissectedPacket), responses(
    (status = 200, description = "The packet's protocol tree", body = DissectionAnswer)
))]
pub async fn packet_dissection(
    State(service): State<Arc<Service>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Json<DissectionAnswer>, Problem> {
    let mut fields = fields_of(request, &service).await?;
    let (selection, conversations) =
        (Selection::from_fields(&mut fields)?, Conversations::from_fields(&mut fields)?);
    let expected = "the cursor of a packet";
    let cursor = fields.parsed("cursor", expected, |text| text.parse::<PacketCursor>().ok())?;
    fields.end()?;
    let cursor = cursor.ok_or_else(|| bad_value("cursor", "", expected))?;
    let dissector = service.dissector.clone().ok_or_else(|| {
        let detail =
            "the service has no dissector: start it with --sharkd, where Wireshark's sharkd is installed";
        Problem::new(Kind::NotFound, detail)
    })?;
    let query = service.query_of(&identity, selection, conversations)?;
    let Ok(_place) = Arc::clone(&service.dissecting).try_acquire_owned() else {
        return Err(Problem::new(
            Kind::Busy,
            "other packets are being taken apart: ask again in some seconds",
        ));
    };
    let audited =
        AuditedQuery { service: Arc::clone(&service), identity, what: DISSECTION, flow: query.flow, query };
    let work = move |extractor: &Extractor, query: &Query, control: &mut ClientControl<'_>| {
        packet_context(extractor, query, cursor, control)
    };
    let context = audited.answer(&service.packets, None, work).await?;
    let context = context.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "there is no packet at this cursor any more, or the parameters are others",
        )
    })?;
    dissected(dissector, context).await.map(Json)
}

/// Has a process take it apart, on a thread that waits for it.
async fn dissected(dissector: Dissector, context: PacketContext) -> Result<DissectionAnswer, Problem> {
    let PacketContext { packet, capture, packets } = context;
    let gone = SetOnDrop(Arc::default());
    let flag = Arc::clone(&gone.0);
    let work = move || dissector.dissect(capture, packets, &|| flag.load(Ordering::Relaxed));
    let dissection = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(dissection)) => dissection,
        Ok(Err(error)) => {
            if !matches!(error, DissectorError::GivenUp) {
                tracing::warn!(%error, "a packet was not taken apart");
            }
            return Err(Problem::new(Kind::Failed, error.to_string()));
        }
        Err(_) => return Err(Problem::new(Kind::Failed, "the answer broke off: see the service's log")),
    };
    Ok(DissectionAnswer { packet, given_packets: packets, dissection })
}

/// Set when the client has gone.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
