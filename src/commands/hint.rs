//! Where an answer is empty: what to ask instead.

use netrewind_extractor::{Estimate, Query, View};

/// Says which other view of the packets would have given an answer, as far as the indexes know. `query` has given none.
pub fn for_empty(query: &Query, estimate: &dyn Fn(&Query) -> Option<Estimate>) -> Option<String> {
    if !query.use_index || query.filter.trim().is_empty() && query.tunnels.are_none() {
        return None;
    }
    // What the indexes cannot exclude of the query itself they cannot exclude of the others.
    let nothing = estimate(query)?.packets_max;
    let (seen, others): (_, &[View]) = match query.view {
        View::Inner => ("the innermost view", &[View::Outer, View::Any]),
        View::Outer => ("the packets as received", &[View::Inner, View::Any]),
        View::Any => ("any view", &[]),
    };
    let of_views =
        others.iter().map(|&view| (Query { view, ..query.clone() }, format!("--view {}", name(view))));
    let of_tags = (!query.ignore_vlan)
        .then(|| (Query { ignore_vlan: true, ..query.clone() }, "--ignore-vlan".to_owned()));
    of_views.chain(of_tags).find_map(|(other, flag)| {
        let Estimate { packets_min, packets_max, .. } = estimate(&other)?;
        let verb = match packets_min {
            0 if packets_max <= nothing => return None,
            0 => "may be",
            _ => "would be",
        };
        Some(format!("note: no packet matches on {seen}; with {flag} there {verb} some"))
    })
}

fn name(view: View) -> &'static str {
    match view {
        View::Inner => "inner",
        View::Outer => "outer",
        View::Any => "any",
    }
}
