//! Name of an answer's file where none is given: by range and selection.

use std::path::PathBuf;

use netrewind_extractor::Query;
use netrewind_store::Timestamp;

/// Characters of the selection in a name.
const SELECTION_CHARS_MAX: usize = 60;
/// Names that are tried: an answer replaces no other that was not named.
const NAMES_MAX: u32 = 1000;

/// A name that no file in the current folder has yet, as `netrewind-2026-11-22T093000Z-to-2026-11-22T093500Z-port-443.pcap`.
pub fn own_name(query: &Query, extension: &str) -> PathBuf {
    let stem = stem(query);
    let numbered = (2..NAMES_MAX).map(|number| format!("{stem}-{number}.{extension}"));
    let mut names = std::iter::once(format!("{stem}.{extension}")).chain(numbered).map(PathBuf::from);
    // Beyond, the first one is replaced.
    names.find(|name| !name.exists()).unwrap_or_else(|| PathBuf::from(format!("{stem}.{extension}")))
}

fn stem(query: &Query) -> String {
    let moment = |at: Timestamp| {
        let time = at.time_of_day();
        format!("{}T{}Z", at.date(), time.get(..6).unwrap_or_default())
    };
    let from = query.from.map(|from| format!("-{}", moment(from)));
    let to = query.to.map(|to| format!("-to-{}", moment(to)));
    let flow = query.flow.map(|flow| flow.to_string());
    let selection = [Some(query.filter.clone()), query.search.clone(), flow];
    let selection = selection.into_iter().flatten().map(|text| plain(&text)).filter(|text| !text.is_empty());
    let selection = selection.map(|text| format!("-{text}"));
    format!("netrewind{}", from.into_iter().chain(to).chain(selection).collect::<String>())
}

/// A text as a part of a name: letters, digits and dots, and hyphens for all else.
fn plain(text: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let words: Vec<&str> = text.split(|c| !is_kept(c)).filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(SELECTION_CHARS_MAX).collect();
    name.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_range_and_filter_and_leads_nowhere_else() {
        let query = Query {
            from: Some(Timestamp::new(1_795_339_800, 0)),
            to: Some(Timestamp::new(1_795_340_100, 5)),
            ..Query::of("host 10.1.2.3 and (port 443 or port 80)")
        };
        assert_eq!(
            stem(&query),
            "netrewind-2026-11-22T093000Z-to-2026-11-22T093500Z-host-10.1.2.3-and-port-443-or-port-80"
        );
        assert_eq!(stem(&Query::default()), "netrewind");
        assert_eq!(plain("../../etc/passwd & $(rm x)"), "etc-passwd-rm-x");
        assert_eq!(plain(&"port 1 or ".repeat(50)).len(), 60 - 1);
    }
}
