//! Values of conversations' labels and other properties, counted.

use netrewind_flows::key::FlowKey;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::search::Search;
use netrewind_flows::totals::Totals;
use netrewind_flows::value_tally::{CountedProperty, ValueTally};
use netrewind_store::Timestamp;
use serde::Serialize;

use super::attempt::retry_with_exact_membership;
use super::joining::GatherOutcome;
use super::visit::{FlowVisitor, Visit};
use crate::answer::Work;
use crate::answer::completeness::{Completeness, RejectedIndex};
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::memory::Holding;
use crate::query::Query;

/// The most values of each property.
pub const LISTED_VALUES_MAX: usize = 1000;
/// Default number of values of each property.
const LISTED_VALUES_DEFAULT: usize = 10;
/// Bytes of values for which memory is taken at a time.
const VALUES_STEP_BYTES: u64 = 1 << 20;

/// Size of the lists of values.
#[derive(Clone, Debug, PartialEq)]
pub struct ValuesQuery {
    /// Values of each property; at most [`LISTED_VALUES_MAX`].
    pub limit: usize,
    /// Only conversations that it finds.
    pub search: Option<Search>,
}

impl Default for ValuesQuery {
    fn default() -> Self {
        Self { limit: LISTED_VALUES_DEFAULT, search: None }
    }
}

/// Values of every property that the conversations of a range have.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PropertyList {
    /// Properties, by name.
    pub properties: Vec<Property>,
    /// Totals of all conversations.
    pub totals: Totals,
    /// Time of their first packet; absent if there are none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub first: Option<Timestamp>,
    /// Time of their last packet.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub last: Option<Timestamp>,
    /// True if conversations may have been split because too many were open at once.
    pub approximate: bool,
    /// Completeness of the answer for the range.
    pub completeness: Completeness,
    /// Indexes that could not be used.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// Work done for it.
    pub work: Work,
}

/// A property of conversations, and its values.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Property {
    /// Its search field, such as `server_name`.
    pub name: &'static str,
    /// Totals of the conversations that have it.
    #[serde(flatten)]
    pub totals: Totals,
    /// Number of distinct values.
    pub distinct: u64,
    /// True if there were more values than are counted: rare ones are missing, and counts may be too low.
    pub approximate: bool,
    /// Values with the most conversations first.
    pub values: Vec<PropertyValue>,
}

/// A value of a property.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PropertyValue {
    /// The value, as a search takes it.
    pub value: String,
    /// Totals of the conversations that have it.
    #[serde(flatten)]
    pub totals: Totals,
}

impl From<CountedProperty> for Property {
    fn from(counted: CountedProperty) -> Self {
        let CountedProperty { name, totals, distinct, is_approximate, values } = counted;
        let values = values.into_iter().map(|(value, totals)| PropertyValue { value, totals }).collect();
        Self { name, totals, distinct: distinct as u64, approximate: is_approximate, values }
    }
}

/// Counts values within the memory that answers share.
struct HeldTally {
    tally: ValueTally,
    holding: Holding,
}

impl FlowVisitor for HeldTally {
    fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.tally.take(key, body);
        // Without room the answer is short, or has its turn and goes on.
        self.holding.hold(self.tally.bytes().next_multiple_of(VALUES_STEP_BYTES));
    }
}

/// Values of every property of the conversations of a query's packets.
pub(crate) fn list_values(
    engine: &Engine,
    query: &Query,
    values: &ValuesQuery,
    control: &mut dyn Control,
) -> Result<PropertyList, ExtractError> {
    retry_with_exact_membership(engine, query, control, |by, account, control| {
        let mut held = HeldTally { tally: ValueTally::default(), holding: account.holding() };
        let visit = Visit { engine, query, search: values.search.as_ref(), by, account };
        let outcome = visit.run(&mut held, control)?;
        let GatherOutcome { work, rejected, completeness, approximate, is_unsure, .. } = outcome;
        let (first, last) = held.tally.span().unzip();
        let answer = PropertyList {
            totals: held.tally.totals(),
            first: first.map(Timestamp),
            last: last.map(Timestamp),
            properties: held
                .tally
                .into_properties(values.limit.min(LISTED_VALUES_MAX))
                .map(Property::from)
                .collect(),
            approximate,
            completeness,
            rejected_indexes: rejected,
            work,
        };
        Ok((answer, is_unsure))
    })
}
