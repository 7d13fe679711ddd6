//! The workloads: what is sent, how large, how acknowledged, and through which driver.
//!
//! Pure data. `rdkafka` workloads show what a user of a real client gets; `raw` workloads send
//! prebuilt frames, so that the broker is the limit and not the client.

use std::time::{Duration, Instant};

/// How a workload is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// librdkafka producer, flat out.
    Produce,
    /// librdkafka consumer reading what was produced before.
    Consume,
    /// librdkafka producer at a fixed rate and a consumer beside it: end-to-end latency.
    Latency,
    /// Prebuilt Produce v7 frames over plain sockets.
    RawProduce,
    /// Prebuilt Produce v7 frames at a fixed rate: request latency.
    RawLatency,
    /// Fetch v11 requests over plain sockets.
    RawFetch,
    /// [`Kind::RawLatency`], by turns alone and beside a consumer that reads an old log from the disk.
    /// Its row is all of the latter; what each window gave is printed when it is over.
    RawBesideColdReader,
}

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Time(Instant),
    /// So many requests (raw) or records (librdkafka) were sent.
    Sent(u64),
}

impl Until {
    /// So long from now.
    pub(crate) fn after(seconds: f64) -> Self {
        Self::Time(Instant::now() + Duration::from_secs_f64(seconds))
    }

    /// Whether there is more to send.
    pub(crate) fn goes_on(self, sent: u64) -> bool {
        match self {
            Self::Time(end) => Instant::now() < end,
            Self::Sent(limit) => sent < limit,
        }
    }
}

/// One workload. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// Name in tables and CSV.
    pub(crate) name: &'static str,
    /// Driver.
    pub(crate) kind: Kind,
    /// Value size of a record.
    pub(crate) record_bytes: usize,
    /// Records in a batch: librdkafka's `batch.num.messages`, or those of a raw frame.
    pub(crate) batch_records: usize,
    /// librdkafka's `linger.ms`.
    pub(crate) linger_ms: u32,
    /// `acks`: 1, or -1 for all.
    pub(crate) acks: i16,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// Largest answer of a raw fetch for one partition.
    pub(crate) fetch_bytes: i32,
    /// Requests in flight per raw connection.
    pub(crate) pipeline: usize,
    /// Records or requests per second; 0 for flat out.
    pub(crate) rate: u32,
}

impl Workload {
    /// A raw workload of eight partitions, for what is not in the table of one broker.
    pub(crate) const fn raw(kind: Kind) -> Self {
        raw("", kind, 1, 100)
    }
}

const PRODUCE: Workload = Workload {
    name: "",
    kind: Kind::Produce,
    record_bytes: 100,
    batch_records: 10_000,
    linger_ms: 5,
    acks: 1,
    partitions: 1,
    fetch_bytes: 1 << 20,
    pipeline: 4,
    rate: 0,
};

const fn produce(
    name: &'static str,
    record_bytes: usize,
    acks: i16,
    batch: (usize, u32),
    partitions: i32,
) -> Workload {
    let (batch_records, linger_ms) = batch;
    Workload {
        name,
        record_bytes,
        acks,
        batch_records,
        linger_ms,
        partitions,
        ..PRODUCE
    }
}

const fn raw(
    name: &'static str,
    kind: Kind,
    batch_records: usize,
    record_bytes: usize,
) -> Workload {
    Workload {
        name,
        kind,
        batch_records,
        record_bytes,
        partitions: 8,
        ..PRODUCE
    }
}

/// Small batches: 10 records, sent at once. Large: up to 10,000 records or 1 MB, after 5 ms.
const SMALL: (usize, u32) = (10, 0);
const LARGE: (usize, u32) = (10_000, 5);

/// Every workload, in the order of the table.
pub(crate) const ALL: &[Workload] = &[
    raw("raw produce 1 x 100 B", Kind::RawProduce, 1, 100),
    raw("raw produce 150 x 100 B", Kind::RawProduce, 150, 100),
    raw("raw produce 1000 x 1 KB", Kind::RawProduce, 1000, 1024),
    Workload {
        fetch_bytes: 16 << 10,
        ..raw("raw fetch 16 KB", Kind::RawFetch, 150, 100)
    },
    Workload {
        fetch_bytes: 64 << 10,
        ..raw("raw fetch 64 KB", Kind::RawFetch, 150, 100)
    },
    Workload {
        fetch_bytes: 1 << 20,
        ..raw("raw fetch 1 MB", Kind::RawFetch, 150, 100)
    },
    Workload {
        rate: 1000,
        pipeline: 1,
        ..raw("raw latency, 1000 requests/s", Kind::RawLatency, 1, 100)
    },
    Workload {
        rate: 1000,
        pipeline: 1,
        ..raw(
            "raw latency, 1000 x 16 KB/s, cold reader beside",
            Kind::RawBesideColdReader,
            150,
            100,
        )
    },
    produce(
        "100 B, acks 1, small batches, 1 partition",
        100,
        1,
        SMALL,
        1,
    ),
    produce(
        "100 B, acks 1, small batches, 8 partitions",
        100,
        1,
        SMALL,
        8,
    ),
    produce(
        "100 B, acks 1, large batches, 1 partition",
        100,
        1,
        LARGE,
        1,
    ),
    produce(
        "100 B, acks 1, large batches, 8 partitions",
        100,
        1,
        LARGE,
        8,
    ),
    produce(
        "100 B, acks all, small batches, 1 partition",
        100,
        -1,
        SMALL,
        1,
    ),
    produce(
        "100 B, acks all, small batches, 8 partitions",
        100,
        -1,
        SMALL,
        8,
    ),
    produce(
        "100 B, acks all, large batches, 1 partition",
        100,
        -1,
        LARGE,
        1,
    ),
    produce(
        "100 B, acks all, large batches, 8 partitions",
        100,
        -1,
        LARGE,
        8,
    ),
    produce(
        "1 KB, acks 1, small batches, 1 partition",
        1024,
        1,
        SMALL,
        1,
    ),
    produce(
        "1 KB, acks 1, small batches, 8 partitions",
        1024,
        1,
        SMALL,
        8,
    ),
    produce(
        "1 KB, acks 1, large batches, 1 partition",
        1024,
        1,
        LARGE,
        1,
    ),
    produce(
        "1 KB, acks 1, large batches, 8 partitions",
        1024,
        1,
        LARGE,
        8,
    ),
    produce(
        "1 KB, acks all, small batches, 1 partition",
        1024,
        -1,
        SMALL,
        1,
    ),
    produce(
        "1 KB, acks all, small batches, 8 partitions",
        1024,
        -1,
        SMALL,
        8,
    ),
    produce(
        "1 KB, acks all, large batches, 1 partition",
        1024,
        -1,
        LARGE,
        1,
    ),
    produce(
        "1 KB, acks all, large batches, 8 partitions",
        1024,
        -1,
        LARGE,
        8,
    ),
    Workload {
        kind: Kind::Consume,
        ..produce("consume 100 B", 100, 1, LARGE, 8)
    },
    Workload {
        kind: Kind::Consume,
        ..produce("consume 1 KB", 1024, 1, LARGE, 8)
    },
    Workload {
        kind: Kind::Latency,
        rate: 1000,
        ..produce("end to end, 1000 records/s", 100, 1, SMALL, 1)
    },
];
