-- What is told of one caller's tokens: names and times. Anybody may have written it.
local stamp = redis.call('TIME')
local now = stamp[1] * 1000 + math.floor(stamp[2] / 1000)
-- No token lives longer.
local DAY = 86400000

-- What is no sorted set is nobody's.
local function set(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', key) end
end

-- So many stay, those with the highest times: a caller's own push out no other's.
local function keep(key, most, ms)
  local more = redis.call('ZCARD', key) - most
  if more > 0 then redis.call('ZREMRANGEBYRANK', key, 0, more - 1) end
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end
