-- KEYS used. ARGV left of the one that lives longest (ms); name, ago (ms) of each.
set(KEYS[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - DAY)
for at = 2, #ARGV, 2 do
  local used = now - tonumber(ARGV[at + 1])
  local known = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[at]) or '')
  -- Another replica may have told of a later use.
  if not known or known < used or known > now then redis.call('ZADD', KEYS[1], used, ARGV[at]) end
end
-- One that was pushed out counts as one that nobody has told of.
keep(KEYS[1], 1000, tonumber(ARGV[1]))
return 1
