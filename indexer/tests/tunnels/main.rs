//! What tunnels carry is found, and where: over packets whose nesting is known, over random bytes, and over public
//! captures as tshark sees them.

mod generate;
mod index;
mod nested;
mod tshark;
