//! Files of the catalog: held to what was written before, and to what damage may do.

mod golden;
mod hostile;
mod made;
mod sums;
