//! One end of the wire, and the wire itself.
