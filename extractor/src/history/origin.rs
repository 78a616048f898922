//! Origin of a segment's packets.

/// Origin of a segment's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) interface: String,
    pub(crate) description: Option<String>,
    /// The capture file that they were imported from.
    pub(crate) file: Option<String>,
}

impl Origin {
    /// True if it is among the selected ones: by the interface's name, the stream's, or the file's.
    pub(crate) fn is_of(&self, chosen: &[String]) -> bool {
        chosen.iter().any(|name| is_within(&self.interface, name) || self.file.as_ref() == Some(name))
    }
}

/// True if an interface has this name, or is one of the interfaces of a stream with this name: `STREAM/NAME`.
fn is_within(interface: &str, name: &str) -> bool {
    interface.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// True if nothing was selected, this name was selected, or the name is unknown. The selection may be one of a stream's interfaces.
pub(super) fn can_be_of(interface: &str, chosen: &[String]) -> bool {
    let can_be = |name: &String| is_within(interface, name) || is_within(name, interface);
    chosen.is_empty() || interface.is_empty() || chosen.iter().any(can_be)
}
