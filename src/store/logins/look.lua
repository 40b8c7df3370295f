-- KEYS revoked, used. ARGV names in the one and in the other, of each.
-- Of each: -2 when it was revoked, -1 when nothing is known, or how long ago it was used (ms).
set(KEYS[1])
set(KEYS[2])
local found = {}
for at = 1, #ARGV, 2 do
  local ends = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[at]) or '')
  local used = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[at + 1]) or '')
  local told = -1
  if ends and ends > now then
    told = -2
  elseif used and used <= now and used >= now - DAY then
    told = math.floor(now - used)
  end
  found[#found + 1] = told
end
return found
