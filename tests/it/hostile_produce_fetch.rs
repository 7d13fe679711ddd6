//! Produce, Fetch and ListOffsets as no honest client sends them: every case has one right answer,
//! and the broker and its other clients go on as if nothing had been.

/// What is wrong before a request is even read: lengths, keys, versions, pace.
mod frames;
/// Large batches, which are received straight into the log.
mod large;
/// What is wrong with a fetch or a question about offsets.
mod reads;
/// What is wrong with the records of a produce request.
mod records;
/// A broker with one topic, and requests to it.
mod target;
/// What is wrong with a produce request around its records.
mod writes;
