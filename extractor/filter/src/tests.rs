//! The three runs of a program held against libpcap and against each other.

mod compiling;
mod corpus;
mod expressions;
mod guarding;
mod interpreting;
mod judging;
mod listing;
mod numbers;
mod random;
mod remedies;
mod searching;
