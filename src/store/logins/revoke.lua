-- KEYS revoked. ARGV channel; name, left (ms), message of each. What is new is said.
set(KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local last = 0
for at = 2, #ARGV, 3 do
  local left = tonumber(ARGV[at + 1])
  last = math.max(last, left)
  if redis.call('ZADD', KEYS[1], now + left, ARGV[at]) == 1 then
    -- It counts, whether or not the user may use channels: others find out by asking.
    redis.pcall('PUBLISH', ARGV[1], ARGV[at + 2])
  end
end
keep(KEYS[1], 1000, last)
return 1
