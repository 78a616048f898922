//! Claims on interfaces, so that none is recorded twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use netrewind_store::locked;

use crate::source::SourceError;

/// The interfaces that are recorded, by index, each with the name given for it and the number of its sockets: no interface is
/// recorded under two names.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Mutex<HashMap<u32, (String, usize)>>>);

/// One socket's claim on an interface; released when dropped.
pub(super) struct InterfaceClaim {
    claims: Claims,
    interface: u32,
}

impl Claims {
    /// Claims an interface; the error is that it is recorded under another name.
    pub(super) fn claim(&self, interface: u32, name: &str) -> Result<InterfaceClaim, SourceError> {
        let mut claimed = locked(&self.0);
        let (by, sockets) = claimed.entry(interface).or_insert_with(|| (name.to_owned(), 0));
        if by != name {
            let reason = format!("the same interface as {by}, under whose name it is recorded");
            return Err(SourceError::Unsupported { name: name.to_owned(), reason });
        }
        *sockets += 1;
        Ok(InterfaceClaim { claims: self.clone(), interface })
    }
}

impl Drop for InterfaceClaim {
    fn drop(&mut self) {
        let mut claimed = locked(&self.claims.0);
        if let Some((_, sockets)) = claimed.get_mut(&self.interface) {
            *sockets -= 1;
            if *sockets == 0 {
                claimed.remove(&self.interface);
            }
        }
    }
}
