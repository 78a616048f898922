//! The views of public captures, as tshark sees them.
