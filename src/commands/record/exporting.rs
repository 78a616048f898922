//! What leaves the store while it is recorded: tables of hours, and flow records to a collector.

use std::sync::{Arc, Mutex};

use netrewind_archive::Bucket;
use netrewind_indexer::hour_export::HourExport;
use netrewind_indexer::workplace::{IndexWatcher, Workplace};
use netrewind_ipfix::collector::{CollectorAddress, Transport};
use netrewind_ipfix::{IpfixExporter, IpfixStatus, IpfixThread};
use netrewind_store::locked;

use crate::confine::Walls;
use crate::exported_hours::{ExportedTables, ExtractedSegments, QueuedSegments};
use crate::outcome::Failure;
use crate::table_target::{OpenedTarget, TableTarget};
use crate::terminal;

/// Destinations of what is exported.
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// Also write each hour that is over as a Parquet file into this folder, or below this URL, as `netrewind export flows` does
    #[arg(long, value_name = "DIR|URL")]
    export_flows: Option<TableTarget>,
    /// Also send the flows of each segment that is sealed to this IPFIX collector, over UDP unless it is written as tcp:HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    ipfix: Option<CollectorAddress>,
    /// Observation domain of the IPFIX records
    #[arg(long, value_name = "N", default_value = "1", requires = "ipfix")]
    ipfix_domain: u32,
}

/// Walls of a process that sends to a collector.
pub fn collector_walls(walls: Walls, collector: &CollectorAddress) -> Walls {
    match collector.transport {
        Transport::Tcp => walls.connecting([collector.port]),
        Transport::Udp => walls.looking_up_names(),
    }
}

/// Exports that are about to begin.
pub struct PreparedExports {
    tables: Option<(TableTarget, OpenedTarget)>,
    ipfix: Option<IpfixExporter>,
    /// Collector that is not connected before the walls are raised.
    connects_later: Option<CollectorAddress>,
    state: ExportState,
}

/// State of the exports, for the user.
#[derive(Clone, Default)]
pub struct ExportState {
    tables: Arc<Mutex<Option<String>>>,
    bucket: Option<Arc<Bucket>>,
    ipfix: Option<Arc<Mutex<IpfixStatus>>>,
}

impl ExportArguments {
    /// Opens what could not be opened later. What fails is told of, and does not keep from recording.
    pub fn prepare(&self) -> PreparedExports {
        let tables = self.export_flows.as_ref().and_then(|target| match target.open("--export-flows") {
            Ok(opened) => Some((target.clone(), opened)),
            Err(failure) => {
                terminal::say(format_args!(
                    "{}: no hours are exported; netrewind export flows does that later",
                    failure.text()
                ));
                None
            }
        });
        let mut ipfix = self.ipfix.clone().map(|collector| IpfixExporter::new(collector, self.ipfix_domain));
        let is_connected = ipfix.as_mut().is_some_and(|exporter| exporter.open_for_good().unwrap_or(false));
        let bucket = tables.as_ref().and_then(|(_, opened)| opened.bucket.clone());
        let state = ExportState {
            ipfix: ipfix.as_ref().map(IpfixExporter::status),
            bucket,
            ..ExportState::default()
        };
        let connects_later = self.ipfix.clone().filter(|_| !is_connected);
        PreparedExports { tables, ipfix, connects_later, state }
    }
}

impl PreparedExports {
    /// Walls that leave what they need.
    pub fn walls(&self, walls: Walls) -> Walls {
        let walls = self.tables.iter().fold(walls, |walls, (target, _)| target.walls(walls));
        self.connects_later.iter().fold(walls, collector_walls)
    }

    /// Their state, at any time.
    pub fn state(&self) -> ExportState {
        self.state.clone()
    }

    /// Is told of segments that have their indexes.
    pub fn watcher(&self) -> Option<Arc<dyn IndexWatcher>> {
        let queue = self.ipfix.as_ref()?.queue();
        Some(Arc::new(QueuedSegments(queue)))
    }

    /// Takes the hours that are over.
    pub fn tables(&self) -> Option<Box<dyn HourExport>> {
        let (_, opened) = self.tables.as_ref()?;
        Some(Box::new(ExportedTables::new(opened.place.clone(), Arc::clone(&self.state.tables))))
    }

    /// Starts the export to the collector.
    pub fn start(self, place: &Workplace) -> Result<Option<IpfixThread>, Failure> {
        let Some(ipfix) = self.ipfix else { return Ok(None) };
        let flows = Box::new(ExtractedSegments::of(&place.store));
        let clock = Arc::clone(&place.clock);
        Ok(Some(ipfix.start(flows, Arc::clone(&place.logbook), clock, &*place.threads)?))
    }
}

impl ExportState {
    /// Gives up what is under way to a bucket: the next recorder exports that hour.
    pub fn stop(&self) {
        self.bucket.iter().for_each(|bucket| bucket.stop());
    }

    /// Reasons why nothing is exported at the moment, in words.
    pub fn trouble(&self) -> Vec<String> {
        let tables = locked(&self.tables).clone().map(|reason| format!("Hours cannot be exported: {reason}"));
        let ipfix = self.ipfix.as_ref().and_then(|status| locked(status).trouble.clone());
        tables.into_iter().chain(ipfix.map(|reason| format!("Flows cannot be sent: {reason}"))).collect()
    }

    /// What has been sent, for the status line.
    pub fn text(&self) -> String {
        let Some(status) = self.ipfix.as_ref().map(|status| locked(status).clone()) else {
            return String::new();
        };
        let IpfixStatus { records, dropped_segments, waiting_segments, .. } = status;
        let mut text = format!("  ipfix {}records", terminal::thousands(records as f64));
        if waiting_segments > 0 {
            text.push_str(&format!(", {waiting_segments} segments wait"));
        }
        if dropped_segments > 0 {
            text.push_str(&format!(", {dropped_segments} segments left out"));
        }
        text
    }

    /// What was not sent by the end, in words.
    pub fn left_out(&self) -> Option<String> {
        let dropped = locked(self.ipfix.as_ref()?).dropped_segments;
        (dropped > 0).then(|| format!("the flows of {dropped} segments were not sent to the collector: netrewind export ipfix sends hours again"))
    }
}
