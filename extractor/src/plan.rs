//! Planning: from the filter and the indexes to the runs of bytes that are read.

pub(crate) mod chosen;
pub(crate) mod divide;
pub(crate) mod flow_judge;
pub(crate) mod fragment_flows;
pub(crate) mod hour_judge;
pub(crate) mod judge;
pub(crate) mod likelihood;
pub(crate) mod planner;
pub(crate) mod query_filter;
pub(crate) mod runs;
pub(crate) mod selection;
pub(crate) mod template_views;
pub(crate) mod tunnel_terms;
