//! ZooKeeper: session, typed registry and the embedded server.
