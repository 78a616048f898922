//! Locations of addresses: a GeoIP database that the operator gives.
//!
//! Its format is MaxMind DB 2.0 (<https://maxmind.github.io/MaxMind-DB/>). Records are read in the shapes that are common:
//! nested (MaxMind's and DB-IP's City and Country) and flat (IPinfo's).
//!
//! The file is read, not mapped: whoever wrote it anew in place would take the pages from under a recorder.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use maxminddb::{LookupResult, PathElement, Reader};
use netrewind_extractor::Hint;
use netrewind_extractor::flows::FlowSummary;
use netrewind_store::locked;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::files::{self, Stamp};

/// Interval between two checks for a changed file.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Limit on the bytes of a database: the largest commercial ones have half of it.
const DATABASE_BYTES_MAX: u64 = 1 << 30;
/// Networks that are looked at until one has a place.
const NETWORKS_TRIED_MAX: usize = 10_000;
/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 200;

const COUNTRY: &[&[&str]] = &[&["country", "names", "en"], &["country_name"], &["country"]];
const COUNTRY_CODE: &[&[&str]] = &[&["country", "iso_code"], &["country_code"]];
const CITY: &[&[&str]] = &[&["city", "names", "en"], &["city"]];
const LATITUDE: &[&[&str]] = &[&["location", "latitude"], &["latitude"], &["lat"]];
const LONGITUDE: &[&[&str]] = &[&["location", "longitude"], &["longitude"], &["lng"]];

/// A GeoIP database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: {reason}: give a database with locations in the MaxMind DB format (.mmdb), such as GeoLite2 City or DB-IP City Lite",
    path.display()
)]
pub struct GeoDatabaseError {
    /// File of the database.
    pub path: PathBuf,
    /// Defect found.
    pub reason: String,
}

/// Location of an address according to the database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Place)]
pub struct Location {
    /// The country's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    /// Its two letters: ISO 3166-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    country_code: Option<String>,
    /// The city's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    /// Degrees north of the equator.
    #[serde(skip_serializing_if = "Option::is_none")]
    latitude: Option<f64>,
    /// Degrees east of Greenwich.
    #[serde(skip_serializing_if = "Option::is_none")]
    longitude: Option<f64>,
}

/// Totals of the packets, and the locations of their hosts.
#[derive(Debug, Serialize, ToSchema)]
pub struct SummaryAnswer {
    #[serde(flatten)]
    pub(crate) summary: FlowSummary,
    /// Locations by address, for those of `top.hosts` and `edges` that `--geoip` knows. Private addresses seldom have one.
    #[schema(value_type = BTreeMap<String, Location>)]
    places: BTreeMap<IpAddr, Location>,
    /// Changed query that would find packets, if this one found none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) hint: Option<Hint>,
}

impl SummaryAnswer {
    /// Looks up the addresses that the summary names.
    pub(crate) fn new(summary: FlowSummary, database: Option<&GeoDatabase>) -> Self {
        let hosts = summary.top.hosts.iter().map(|host| host.address);
        let ends = summary.edges.iter().flat_map(|edge| [edge.a, edge.b]);
        let places = database.map(|database| database.locate(hosts.chain(ends))).unwrap_or_default();
        Self { summary, places, hint: None }
    }
}

/// A GeoIP database that is read again when its file changes.
#[derive(Debug)]
pub struct GeoDatabase {
    path: PathBuf,
    database: Mutex<Arc<MmdbReader>>,
}

type MmdbReader = Reader<Vec<u8>>;

impl GeoDatabase {
    /// Opens an `.mmdb` file in which at least one network has a location.
    pub fn open(path: &Path) -> Result<Self, GeoDatabaseError> {
        Ok(Self { path: path.to_owned(), database: Mutex::new(Arc::new(load(path)?)) })
    }

    /// The locations of these addresses, if known.
    fn locate(&self, addresses: impl Iterator<Item = IpAddr>) -> BTreeMap<IpAddr, Location> {
        let database = Arc::clone(&locked(&self.database));
        let mut places = BTreeMap::new();
        for address in addresses {
            if places.contains_key(&address) {
                continue;
            }
            // An IPv6 address in a database of IPv4 alone is an error, and has no place.
            if let Some(place) = database.lookup(address).ok().and_then(|found| location_in(&found)) {
                places.insert(address, place);
            }
        }
        places
    }

    /// Reloads the file whenever it changes, for ever. Errors are logged, and the old one stays in use.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut known = Stamp::read(&self.path);
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = Stamp::read(&self.path);
            if now == known {
                continue;
            }
            let path = self.path.clone();
            let Ok(loaded) = tokio::task::spawn_blocking(move || load(&path)).await else { continue };
            match loaded {
                Ok(database) => {
                    *locked(&self.database) = Arc::new(database);
                    tracing::info!(file = %self.path.display(), "the GeoIP database was reloaded");
                }
                Err(error) => {
                    tracing::warn!(%error, "the changed GeoIP database cannot be used; the old one stays in use")
                }
            }
            // A file that is still being written changes again.
            known = now;
        }
    }
}

fn load(path: &Path) -> Result<MmdbReader, GeoDatabaseError> {
    let wrong = |reason: String| GeoDatabaseError { path: path.to_owned(), reason };
    let contents = files::read_at_most(path, DATABASE_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let too_long = || wrong(format!("it has more than {DATABASE_BYTES_MAX} bytes"));
    let bytes = contents.ok_or_else(too_long)?.bytes;
    let damaged = |_| wrong("it is not a MaxMind DB file (MMDB), or it is damaged".to_owned());
    let database = Reader::from_source(bytes).map_err(damaged)?;
    let kind = database.metadata().database_type.clone();
    let mut networks = database.networks(maxminddb::WithinOptions::default()).map_err(damaged)?;
    let has_places = networks
        .by_ref()
        .take(NETWORKS_TRIED_MAX)
        .any(|network| network.ok().is_some_and(|found| location_in(&found).is_some()));
    drop(networks);
    if has_places {
        Ok(database)
    } else {
        Err(wrong(format!("it is a {kind:?} database, which has no locations")))
    }
}

/// A figure, which some databases write as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Figure {
    Number(f64),
    Text(String),
}

fn location_in(found: &LookupResult<'_, Vec<u8>>) -> Option<Location> {
    let name =
        |paths| first::<String>(found, paths).filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX);
    let degrees = |paths, most: f64| {
        let figure = match first::<Figure>(found, paths)? {
            Figure::Number(number) => number,
            Figure::Text(text) => text.parse().ok()?,
        };
        (figure.abs() <= most).then_some(figure)
    };
    let (latitude, longitude) = degrees(LATITUDE, 90.0).zip(degrees(LONGITUDE, 180.0)).unzip();
    let country_code = name(COUNTRY_CODE);
    let country = name(COUNTRY).or_else(|| country_code.clone());
    let place = Location { country, country_code, city: name(CITY), latitude, longitude };
    (place != Location::default()).then_some(place)
}

/// The value at the first of these paths that has one of the wanted kind.
fn first<'a, T: Deserialize<'a>>(found: &LookupResult<'a, Vec<u8>>, paths: &[&[&str]]) -> Option<T> {
    paths.iter().find_map(|path| {
        let path: Vec<PathElement<'_>> = path.iter().map(|key| PathElement::Key(key)).collect();
        found.decode_path(&path).ok().flatten()
    })
}
