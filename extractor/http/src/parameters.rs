//! Parameters of requests over HTTP, and the query that they mean.

use std::net::IpAddr;
use std::time::Duration;

use jiff::tz::TimeZone;
use netrewind_extractor::events::{self, EVENT_WINDOW, EventTimes, LogKind};
use netrewind_extractor::flows::{FlowId, Search, SearchError, of_community_id};
use netrewind_extractor::lists::{AddressList, LeftOut, ListDemands, ListError, PortList};
use netrewind_extractor::time_text::{self, AskedRange, WrittenRange};
use netrewind_extractor::{AnswerLimits, DedupWindow, Query, TunnelDemands, ViewMode};
use netrewind_store::Timestamp;
use netrewind_store::time::DAY_NS;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::fields::{Fields, NUMBER_MAX};
use crate::manifest_name::ManifestName;
use crate::problem::{Kind, Problem};

/// Largest value of `max_seconds`: a day.
pub const SECONDS_MAX: u64 = 86_400;

/// Selection of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Selection {
    /// Earliest time: RFC 3339 with nanoseconds, Unix seconds with a fraction, `2h ago`, or in `tz` `2026-11-22 09:30`,
    /// `09:30` (today), `yesterday 14:00`. Absent: the oldest packet kept.
    #[param(example = "2h ago")]
    from: Option<String>,
    /// End of the range, exclusive; `+5m` counts from `from`. Absent: now if `from` is relative, such as `2h ago`; else up to
    /// the newest packet.
    #[param(example = "now")]
    to: Option<String>,
    /// Middle of the range, such as the time of an alert, instead of `from` and `to`.
    #[param(example = "5m ago")]
    around: Option<String>,
    /// Time before and after `around`, such as `30s`. Absent: `1m`.
    window: Option<String>,
    /// Time zone of times without one, such as `Europe/Rome` or `+02:00`. Absent: UTC.
    tz: Option<String>,
    /// A pcap-filter(7) expression. Absent: every packet.
    #[param(example = "tcp port 443")]
    filter: Option<String>,
    /// Part of a tunnelled packet that the filter is applied to: its innermost packet, the packet as received, or either.
    #[param(inline)]
    view: Option<ViewName>,
    /// Filter as if packets had no VLAN tags.
    ignore_vlan: Option<bool>,
    /// Packets from or to one of these addresses: addresses, networks, ranges (`10.0.0.1-10.0.0.9`) and `!` exceptions, in lines or
    /// between commas; or JSON of MISP. Long lists go in the body of a POST. VLAN tags do not matter.
    #[param(example = "192.0.2.0/24,!192.0.2.1")]
    hosts: Option<String>,
    /// Packets from or to one of these ports: ports, ranges (`8000-8100`) and `!` exceptions. With the view `inner` only.
    #[param(example = "4444,8000-8100")]
    ports: Option<String>,
    /// Packets in VXLAN, VXLAN-GPE or Geneve with this network identifier.
    #[param(minimum = 0, maximum = 16_777_215)]
    vni: Option<u32>,
    /// Packets in GRE with this key, or in EoIP with this tunnel id.
    #[param(minimum = 0, maximum = 4_294_967_295_u32)]
    gre_key: Option<u32>,
    /// Packets in ERSPAN of this session.
    #[param(minimum = 0, maximum = 1023)]
    erspan_session: Option<u32>,
    /// Packets in a tunnel from or to this IPv4 or IPv6 address.
    tunnel_peer: Option<String>,
    /// Leave out packets that the answer already has from at most this time before, such as `5ms`.
    dedup: Option<String>,
    /// Packets from this interface, by the name under which it was recorded, or from this imported file. May be given several
    /// times. Absent: from all interfaces.
    interface: Option<Vec<String>>,
    /// Do not use the indexes: the answer is the same, and takes longer.
    no_index: Option<bool>,
    /// A following answer with an open range has no end.
    #[param(ignore)]
    follows: bool,
}

/// A view of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ViewName {
    /// Its innermost packet.
    Inner,
    /// The packet as received.
    Outer,
    /// Any of its views.
    Any,
}

impl From<ViewName> for ViewMode {
    fn from(name: ViewName) -> Self {
        match name {
            ViewName::Inner => Self::Inner,
            ViewName::Outer => Self::Outer,
            ViewName::Any => Self::Any,
        }
    }
}

/// Restriction to the packets of some conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Conversations {
    /// Only packets of conversations that this search finds, as `/api/v1/flows` lists them with the same `query`.
    #[param(example = "sni:example.com AND bytes:>1000000")]
    query: Option<String>,
    /// Only packets of the conversations with this Community ID (version 1), or one of several between commas.
    community_id: Option<String>,
    /// Only packets of the conversation with this id: exactly those that its record counts, which a filter often cannot express.
    flow: Option<String>,
    /// Packets of the events in these lines of Suricata's EVE log, with `window` before and after each, in place of a range. VLAN
    /// tags do not matter. Long logs go in the body of a POST.
    eve: Option<String>,
    /// The same for lines of Zeek's `conn.log`, tab-separated with its head, or JSON.
    zeek: Option<String>,
}

/// A log whose events' packets are wanted, and how its times become ranges.
#[derive(Clone, Debug)]
pub struct EventLog {
    name: &'static str,
    kind: LogKind,
    text: String,
    window: String,
    zone: TimeZone,
}

impl EventLog {
    /// Restricts a query to the packets of the events.
    pub fn restrict(&self, query: &Query) -> Result<Query, Problem> {
        let Self { name, kind, text, window, zone } = self;
        let times = EventTimes { now: query.asked_at.unwrap_or(Timestamp::MIN), zone, window };
        let events = events::read(&mut text.as_bytes(), *kind, &times).map_err(|error| {
            Problem::new(Kind::BadParameter, format!("{name}: {error}")).with("parameter", *name)
        })?;
        Ok(events::query_for_all(&events, query))
    }
}

impl Conversations {
    /// Takes what belongs to it.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            query: fields.text("query")?,
            community_id: fields.text("community_id")?,
            flow: fields.text("flow")?,
            eve: fields.text("eve")?,
            zeek: fields.text("zeek")?,
        })
    }

    /// Log of events that says which packets are wanted, and when, in place of everything else that would; taken out of both.
    pub fn take_events(&mut self, selection: &mut Selection) -> Result<Option<EventLog>, Problem> {
        let (name, kind, text) = match (self.eve.take(), self.zeek.take()) {
            (None, None) => return Ok(None),
            (Some(text), None) => ("eve", LogKind::Eve, text),
            (None, Some(text)) => ("zeek", LogKind::Zeek, text),
            (Some(_), Some(_)) => {
                let detail = "zeek: the packets are those of one log: give eve or zeek";
                return Err(Problem::new(Kind::BadParameter, detail).with("parameter", "zeek"));
            }
        };
        let others = [
            ("from", selection.from.is_some()),
            ("to", selection.to.is_some()),
            ("around", selection.around.is_some()),
            ("query", self.query.is_some()),
            ("community_id", self.community_id.is_some()),
            ("flow", self.flow.is_some()),
            ("follow", selection.follows),
        ];
        if let Some((other, _)) = others.into_iter().find(|(_, is_given)| *is_given) {
            let detail =
                format!("{other}: the events of {name} say which packets are wanted, and when: leave it out");
            return Err(Problem::new(Kind::BadParameter, detail).with("parameter", other));
        }
        let window = selection.window.take().unwrap_or_else(|| EVENT_WINDOW.to_owned());
        Ok(Some(EventLog { name, kind, text, window, zone: selection.zone()? }))
    }

    /// Restricts a query to them.
    pub fn restrict(self, query: Query) -> Result<Query, Problem> {
        let wrong = |name, error: &dyn std::fmt::Display| {
            Problem::new(Kind::BadParameter, format!("{name}: {error}")).with("parameter", name)
        };
        let search = search_of(self.query, self.community_id)?;
        let flow = self.flow.map(|text| text.parse::<FlowId>().map_err(|error| wrong("flow", &error)));
        Ok(Query { flow: flow.transpose()?, search, ..query })
    }
}

/// The search of `query` and `community_id` together.
pub fn search_of(query: Option<String>, community_id: Option<String>) -> Result<Option<String>, Problem> {
    let wrong = |error: &SearchError, name| {
        Problem::new(Kind::BadParameter, format!("{name}: {error}")).with("parameter", name)
    };
    if let Some(id) = community_id {
        // A plus sign in a query string is a space, and no Community ID has one.
        let joined = of_community_id(&id.replace(", ", ",").replace(' ', "+"), query.as_deref());
        return joined.map(Some).map_err(|error| match error {
            SearchError::Value { ref field, .. } if field == "community_id" => wrong(&error, "community_id"),
            error => wrong(&error, "query"),
        });
    }
    if let Some(text) = &query {
        text.parse::<Search>().map_err(|error| wrong(&error, "query"))?;
    }
    Ok(query)
}

/// Limits of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Bounds {
    /// Stop after this many packets.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    pub max_packets: Option<u64>,
    /// Stop before the packets have more bytes than this, as captured.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    pub max_bytes: Option<u64>,
    /// Stop after this many seconds of reading.
    #[param(minimum = 1, maximum = 86_400)]
    pub max_seconds: Option<u64>,
}

/// Kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Format {
    /// One link type; read by everything.
    #[default]
    Pcap,
    /// Several link types; interfaces, drops and completeness are inside.
    Pcapng,
}

impl Format {
    /// Reads its name.
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "pcap" => Some(Self::Pcap),
            "pcapng" => Some(Self::Pcapng),
            _ => None,
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Pcap => "application/vnd.tcpdump.pcap",
            Self::Pcapng => "application/x-pcapng",
        }
    }

    /// File name extension.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pcap => "pcap",
            Self::Pcapng => "pcapng",
        }
    }
}

/// Form of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Form {
    /// pcap (one link type) or pcapng (several; interfaces, drops and completeness inside). Absent: pcap.
    #[param(inline)]
    pub format: Option<Format>,
    /// Write the innermost packet without its tunnel; the tunnel's fragments are reassembled.
    pub decapsulate: Option<bool>,
    /// Compare what is read with the checksums taken while recording; the answer names what has changed since, and is incomplete.
    pub check: Option<bool>,
    /// Put the TLS secrets that imported captures came with into a pcapng answer, so that Wireshark decrypts it. Tokens with a filter get none.
    pub secrets: Option<bool>,
    /// Continue with new packets as they are recorded, until the client disconnects, a limit is reached, or `to` has passed.
    pub follow: Option<bool>,
    /// Make a manifest of the answer (SHA-256, query, completeness), to be fetched from `/api/v1/manifests/{name}` once the answer has
    /// ended: a name of the asker's choice, at most 64 letters, digits, `-` and `_`.
    #[param(value_type = Option<String>)]
    pub manifest: Option<ManifestName>,
}

/// All of these in the body of a POST.
#[derive(Debug)]
pub struct PacketsRequest;

impl ToSchema for PacketsRequest {}

/// The same names and values as in a query string, and no others.
impl PartialSchema for PacketsRequest {
    fn schema() -> RefOr<Schema> {
        body_schema([
            Selection::into_params(in_body),
            Conversations::into_params(in_body),
            Bounds::into_params(in_body),
            Form::into_params(in_body),
        ])
    }
}

/// The same without what is about a file.
#[derive(Debug)]
pub struct CountRequest;

impl ToSchema for CountRequest {}

impl PartialSchema for CountRequest {
    fn schema() -> RefOr<Schema> {
        body_schema([
            Selection::into_params(in_body),
            Conversations::into_params(in_body),
            Bounds::into_params(in_body),
        ])
    }
}

/// Place of parameters in a body: none that a description names.
pub(crate) fn in_body() -> Option<ParameterIn> {
    None
}

/// Parameters as members of an object that has no others.
pub(crate) fn body_schema(groups: impl IntoIterator<Item = Vec<Parameter>>) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new();
    for parameter in groups.into_iter().flatten() {
        if let Some(schema) = parameter.schema {
            object = object.property(parameter.name, schema);
        }
    }
    object.additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
}

impl Selection {
    /// Takes what belongs to it.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let view = |text: &str| match text {
            "inner" => Some(ViewName::Inner),
            "outer" => Some(ViewName::Outer),
            "any" => Some(ViewName::Any),
            _ => None,
        };
        Ok(Self {
            from: fields.text("from")?,
            to: fields.text("to")?,
            around: fields.text("around")?,
            window: fields.text("window")?,
            tz: fields.text("tz")?,
            filter: fields.text("filter")?,
            view: fields.parsed("view", "inner, outer or any", view)?,
            ignore_vlan: Some(fields.flag("ignore_vlan")?),
            hosts: fields.text("hosts")?,
            ports: fields.text("ports")?,
            vni: bits(fields, "vni", 24)?,
            gre_key: bits(fields, "gre_key", 32)?,
            erspan_session: bits(fields, "erspan_session", 10)?,
            tunnel_peer: fields.text("tunnel_peer")?,
            dedup: fields.text("dedup")?,
            interface: Some(fields.texts("interface")?),
            no_index: Some(fields.flag("no_index")?),
            follows: false,
        })
    }

    /// True if its range has two ends that are the same at any time.
    pub fn is_fixed(&self, now: Timestamp) -> bool {
        let range = |now| self.range(now).ok().and_then(|range| Some((range.from?, range.to?)));
        range(now).is_some_and(|ends| range(now.plus_ns(DAY_NS)) == Some(ends))
    }

    /// Selection for an answer that follows the recording, if `follows`.
    #[must_use]
    pub fn following(self, follows: bool) -> Self {
        Self { follows, ..self }
    }

    /// The query that it means at this time.
    pub fn query(self, now: Timestamp) -> Result<Query, Problem> {
        let AskedRange { from, to, note } = self.range(now)?;
        let peer = self.tunnel_peer.as_deref().map(|text| {
            let expected = "an IPv4 or IPv6 address";
            text.parse::<IpAddr>().map_err(|_| crate::fields::bad_value("tunnel_peer", text, expected))
        });
        let view = self.view.map(ViewMode::from).unwrap_or_default();
        if self.ports.is_some() && view != ViewMode::Inner {
            let detail = "ports: a list of ports looks at the innermost packet: leave out view";
            return Err(Problem::new(Kind::BadParameter, detail).with("parameter", "ports"));
        }
        let hosts = self.hosts.as_deref().map(|text| list("hosts", text, AddressList::parse)).transpose()?;
        let ports = self.ports.as_deref().map(|text| list("ports", text, PortList::parse)).transpose()?;
        Ok(Query {
            from,
            to,
            lists: ListDemands { hosts, ports, ..ListDemands::default() },
            filter: self.filter.unwrap_or_default(),
            view,
            ignore_vlan: self.ignore_vlan.unwrap_or_default(),
            tunnels: TunnelDemands {
                vni: self.vni,
                gre_key: self.gre_key,
                erspan_session: self.erspan_session,
                peer: peer.transpose()?,
            },
            dedup: self.dedup.as_deref().map(dedup_window).transpose()?,
            interfaces: self.interface.unwrap_or_default(),
            use_index: !self.no_index.unwrap_or_default(),
            note,
            ..Query::default()
        })
    }

    fn zone(&self) -> Result<TimeZone, Problem> {
        let Some(text) = &self.tz else { return Ok(TimeZone::UTC) };
        time_text::time_zone(text).map_err(|error| {
            let hint = lost_plus(text, |text| time_text::time_zone(text).is_ok());
            Problem::new(Kind::BadParameter, format!("tz: {error}{hint}")).with("parameter", "tz")
        })
    }

    fn range(&self, now: Timestamp) -> Result<AskedRange, Problem> {
        let zone = self.zone()?;
        let written = WrittenRange {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            around: self.around.as_deref(),
            window: self.window.as_deref(),
            follows: self.follows,
        };
        time_text::range(&written, now, &zone).map_err(|error| {
            let ends = WrittenRange { follows: self.follows, ..WrittenRange::default() };
            let reads = |from: Option<&str>, to: Option<&str>| {
                time_text::range(&WrittenRange { from, to, ..ends }, now, &zone).is_ok()
            };
            let hint = match error.parameter {
                "from" => lost_plus(written.from.unwrap_or_default(), |text| reads(Some(text), None)),
                "around" => lost_plus(written.around.unwrap_or_default(), |text| reads(Some(text), None)),
                "window" => "",
                _ => lost_plus(written.to.unwrap_or_default(), |text| reads(written.from, Some(text))),
            };
            Problem::new(Kind::BadTime, format!("{error}{hint}")).with("parameter", error.parameter)
        })
    }
}

/// A plus sign in a query string is a space: an offset or a span has lost its sign.
fn lost_plus(text: &str, reads: impl Fn(&str) -> bool) -> &'static str {
    let plus = text.replace(' ', "+");
    let last = text.rfind(' ').map(|at| format!("{}+{}", &text[..at], &text[at + 1..])).unwrap_or_default();
    let was_plus = text.contains(' ') && (reads(&plus) || reads(&last));
    if was_plus { " (write a + in a query string as %2B)" } else { "" }
}

fn list<L>(
    name: &'static str,
    text: &str,
    parse: fn(&str) -> Result<(L, LeftOut), ListError>,
) -> Result<L, Problem> {
    let parsed = parse(text).map(|(list, _)| list);
    parsed
        .map_err(|error| Problem::new(Kind::BadParameter, format!("{name}: {error}")).with("parameter", name))
}

fn dedup_window(text: &str) -> Result<DedupWindow, Problem> {
    time_text::duration(text).and_then(DedupWindow::try_from).map_err(|error| {
        Problem::new(Kind::BadParameter, format!("dedup: {error}")).with("parameter", "dedup")
    })
}

fn bits(fields: &mut Fields, name: &'static str, bits: u32) -> Result<Option<u32>, Problem> {
    let number = fields.number(name, (1 << bits) - 1)?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

impl Bounds {
    /// Takes what belongs to it.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let max_seconds = fields.number("max_seconds", SECONDS_MAX)?;
        if max_seconds == Some(0) {
            return Err(crate::fields::bad_value("max_seconds", "0", "a whole number of at least 1"));
        }
        Ok(Self {
            max_packets: fields.number("max_packets", NUMBER_MAX)?,
            max_bytes: fields.number("max_bytes", NUMBER_MAX)?,
            max_seconds,
        })
    }

    /// Limits of a query.
    pub fn limits(&self) -> AnswerLimits {
        AnswerLimits { packets: self.max_packets, bytes: self.max_bytes }
    }

    /// Longest time that reading may take.
    pub fn time(&self) -> Option<Duration> {
        self.max_seconds.map(Duration::from_secs)
    }
}

/// Form of the answer, if nothing can be followed.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub struct FileForm {
    /// pcap (one link type) or pcapng (several; interfaces, drops and completeness inside). Absent: pcap.
    #[param(inline)]
    format: Option<Format>,
    /// Write the innermost packet without its tunnel; the tunnel's fragments are reassembled.
    decapsulate: Option<bool>,
    /// Compare what is read with the checksums taken while recording; the answer names what has changed since, and is incomplete.
    check: Option<bool>,
    /// Put the TLS secrets that imported captures came with into a pcapng answer, so that Wireshark decrypts it. Tokens with a filter get none.
    secrets: Option<bool>,
    /// Make a manifest of the answer (SHA-256, query, completeness), to be fetched from `/api/v1/manifests/{name}` once the answer has
    /// ended: a name of the asker's choice, at most 64 letters, digits, `-` and `_`.
    manifest: Option<String>,
}

impl FileForm {
    /// Takes what belongs to it.
    pub fn from_fields(fields: &mut Fields) -> Result<Form, Problem> {
        let format = fields.parsed("format", "pcap or pcapng", Format::read)?;
        let (decapsulate, check) = (Some(fields.flag("decapsulate")?), Some(fields.flag("check")?));
        let secrets = Some(fields.flag("secrets")?);
        let manifest = ManifestName::from_fields(fields)?;
        Ok(Form { format, decapsulate, check, secrets, follow: None, manifest })
    }
}

impl Form {
    /// Takes what belongs to it.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            format: fields.parsed("format", "pcap or pcapng", Format::read)?,
            decapsulate: Some(fields.flag("decapsulate")?),
            check: Some(fields.flag("check")?),
            secrets: Some(fields.flag("secrets")?),
            follow: Some(fields.flag("follow")?),
            manifest: ManifestName::from_fields(fields)?,
        })
    }
}
