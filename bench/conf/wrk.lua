-- A GET, or a POST of BENCH_BODY bytes, again as soon as the answer is there or after BENCH_PAUSE
-- milliseconds; the outcome as one line of JSON.
local size = tonumber(os.getenv("BENCH_BODY"))
local pause = tonumber(os.getenv("BENCH_PAUSE"))
wrk.headers["Accept"] = "application/json"
-- Whoever lets this pass is answered 401.
wrk.headers["Authorization"] = "Bearer of the caller's own"
if size > 0 then
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = string.rep("x", size)
end

-- Where there is no pause, there is no call into Lua between two requests either.
if pause > 0 then
  function delay()
    return pause
  end
end

function done(summary, latency)
  local e = summary.errors
  local line = '\noutcome {"requests":%d,"microseconds":%d,"bytes":%d,"refused":%d,"broken":%d,' ..
    '"p50":%d,"p99":%d}\n'
  io.write(line:format(summary.requests, summary.duration, summary.bytes, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
