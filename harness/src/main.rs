//! evlab
fn main() {}
