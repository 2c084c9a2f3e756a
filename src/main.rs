//! The command. There is none yet.

fn main() {}
