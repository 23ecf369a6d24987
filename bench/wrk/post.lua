-- SPDX-License-Identifier: MIT
-- POSTs the JSON text in BENCH_BODY; at the end prints what bench/measure.py reads: one JSON line.
-- There is no response() on purpose: calling Lua for each answer would slow the load generator,
-- and that would flatter the slower server. wrk itself counts statuses above 399.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\nBENCH {"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50),
        latency:percentile(99), e.connect + e.read + e.write + e.timeout + e.status))
end
