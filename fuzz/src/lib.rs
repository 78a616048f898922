//! Functions that read bytes from outside, each with what has to hold whatever the bytes are: for libFuzzer, and for the tests, which give
//! them the kept inputs.

pub mod alert;
pub mod capture_file;
pub mod catalog;
pub mod cursor;
pub mod dissection;
pub mod evidence;
pub mod filter;
pub mod filter_text;
pub mod hold;
pub mod hour;
pub mod index;
pub mod labels;
pub mod lists;
pub mod logbook;
pub mod manifest;
pub mod packet;
pub mod packet_line;
pub mod parameters;
pub mod remote;
pub mod search_text;
pub mod segment;
pub mod sign_in;
pub mod tokens;
pub mod tunnel;
