-- One kind of request, over and over; the figures as one line of JSON that bench/load.py reads.
wrk.method = "POST"
wrk.headers["Host"] = "localhost"
wrk.headers["Authorization"] = "Bearer bench-token"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BENCH_BODY"), "rb")
wrk.body = file:read("*a")
file:close()

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  io.write(string.format('\nBENCH {"requests": %d, "seconds": %.6f, "p50": %d, "p99": %d, "p999": %d, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), failed))
end
