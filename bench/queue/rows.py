"""What is promised of queues. Pure."""

from __future__ import annotations

from bench.proxy.rows import Row

RAW = "raw SQLite"
BEANSTALK_FSYNC, BEANSTALK = "beanstalkd, fsync per write", "beanstalkd, no fsync"
REDIS_ALWAYS, REDIS_EVERYSEC = "Redis, AOF always", "Redis, AOF everysec"
FRONT = "a proxied request"
FEW = "among 1,000"
WRK = "wrk"
PEERS = (BEANSTALK_FSYNC, BEANSTALK, REDIS_ALWAYS, REDIS_EVERYSEC)

PER_S, CPU_US, P50_MS, P99_MS = "per_s", "cpu_us", "p50_ms", "p99_ms"
"""Figures."""

BODY_BYTES = 100
"""Of a message, everywhere."""
BATCH = 100
"""Messages at once."""
CLIENTS = 64
"""That have one message at a time, each."""
ZAPQ_CLIENTS = 100
CONCURRENCY = 32
"""Of deliveries, and connections of wrk."""

ROWS = (
    Row("batch", f"TQS, put, get, delete {BATCH} at once, disk", PER_S, "1/s", 0.25, False, RAW, digits=0),
    Row("single", f"the same, but {BATCH} DELETEs of one each", PER_S, "1/s", 0.25, False, RAW, digits=0),
    Row("one", f"TQS, one at a time, {CLIENTS} clients, disk", PER_S, "1/s", 2.0, False, BEANSTALK_FSYNC, digits=0),
    Row("enqueue", f"ZapQ, enqueue, {ZAPQ_CLIENTS} clients, CPU", CPU_US, "µs", 1.3, peer=FRONT),
    Row("dequeue", f"ZapQ, dequeue, {ZAPQ_CLIENTS} clients, CPU", CPU_US, "µs", 1.3, peer=FRONT),
    Row("poll", "put to a waiting poll answered, idle, p99", P99_MS, "ms", 5.0, digits=2),
    Row("depth", "a get among 1,000,000 ready, CPU", CPU_US, "µs", 1.5, peer=FEW, digits=0),
    Row("restart", "kill -9 with 1,000,000, start until ready", "ready_s", "s", 5.0, digits=2),
    Row("memory", "most memory with 1,000,000", "mib", "MiB", 300.0, digits=0),
    Row("delivery", f"delivered to a Go worker, {CONCURRENCY} at once", PER_S, "1/s", 0.5, False, WRK, digits=0),
)
