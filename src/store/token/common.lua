-- A token's record, with every number doubted: anybody may have written it.
local stamp = redis.call('TIME')
local now = stamp[1] * 1000 + math.floor(stamp[2] / 1000)
local DAY = 86400000

-- A whole number from 0 to `most`, or 0.
local function number(text, most)
  local value = tonumber(text or '')
  if value and value >= 0 and value <= most and value == math.floor(value) then return value end
  return 0
end

-- What is no hash is nobody's.
local function fields(key, ...)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
  return redis.call('HMGET', key, ...)
end

-- Longer ones are not read.
local function bounded(key, field, most)
  if redis.call('HSTRLEN', key, field) > most then return '' end
  return redis.call('HGET', key, field) or ''
end

local function stored(key)
  local clear = fields(key, 'serial', 'expires', 'fence')
  local serial, fence = number(clear[1], now + DAY), number(clear[3], now + DAY)
  local left = math.max(number(clear[2], now + 500 * DAY) - now, 0)
  return {
    serial = serial,
    newest = math.max(serial, fence),
    record = { serial, left, bounded(key, 'sealed', 32768), bounded(key, 'gone', 256) },
  }
end

local function lives(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end
