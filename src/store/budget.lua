-- The caps of all replicas on the limits of one client: the rules are those of decide/joint/ledger.rs.
-- KEYS: the age, then a ledger for each limit.
-- ARGV: replica, call, version seen, lease, fresh, channel, tell; then for each ledger: limit, window,
-- claim, want, inside, sent ("after:calls,…"), wishes, leaves. Times are in milliseconds.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id, call, seen = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, fresh = tonumber(ARGV[4]), ARGV[5] == '1'
-- More replicas than these are nobody's: somebody else wrote here.
local MOST, LONGEST, DAY = 1000, 16384, 86400000

-- What is there in our place and is none of ours goes. Whether it was.
local function is_ours(key)
  local fields = redis.pcall('HLEN', key)
  if type(fields) == 'number' and fields <= MOST then return true end
  redis.call('UNLINK', key)
  return false
end

-- A whole number from 0 to most; everything else, nan and infinity too, is none.
local function whole_number(value, most)
  return type(value) == 'number' and value >= 0 and value <= most and value == math.floor(value)
end
local HUGE = 9007199254740991
-- No client is asked about so often: a version that was written in here goes round once, and is gone.
local VERSIONS = 1e12

-- What was lost is told again within a lease by whoever lives. So is what nobody could tell for longer.
is_ours(KEYS[1])
local age = redis.call('HMGET', KEYS[1], 'since', 'version', 'last')
local since, version = tonumber(age[1] or nil), tonumber(age[2] or nil)
local last = tonumber(age[3] or nil)
if not whole_number(since, now) then since = nil end
if not whole_number(version, VERSIONS - 1) then version = 0 end
if not whole_number(seen, VERSIONS - 1) then seen = 0 end
if not since then
  since = fresh and not age[1] and now - lease or now
elseif version < seen or (last and now > last + lease) then
  since = now
end
version = math.max(version, seen) + 1
if version >= VERSIONS then version = 1 end
redis.call('HSET', KEYS[1], 'since', since, 'version', version, 'last', now)
redis.call('PEXPIRE', KEYS[1], DAY)
local whole = now >= since + lease

-- What is no entry is nobody's; what claims too much is cut to what can be.
local function unpack_entry(name, packed, limit, window)
  if #packed > LONGEST or not string.match(name, '^%x+$') or #name > 32 then return nil end
  local ok, entry = pcall(cmsgpack.unpack, packed)
  if not ok or type(entry) ~= 'table' then return nil end
  if not whole_number(entry[1], HUGE) or not whole_number(entry[2], HUGE) then return nil end
  if not whole_number(entry[3], HUGE) or not whole_number(entry[4], now + lease) then return nil end
  if type(entry[5]) ~= 'string' or type(entry[6]) ~= 'string' then return nil end
  -- What counts for longer than a window after it was told was not told by one of us.
  for ends in string.gmatch(entry[5], '(%d+):') do
    if tonumber(ends) > now + 2 * window then return nil end
  end
  -- Others may have been configured with another limit.
  entry[2] = math.min(entry[2], limit)
  return entry
end

local function used(sent)
  local sum = 0
  for ends, calls in string.gmatch(sent, '(%d+):(%d+)') do
    if tonumber(ends) > now then sum = sum + tonumber(calls) end
  end
  return sum
end

local answer = { tostring(now), version, whole and 1 or 0 }
local at = 8
for n = 2, #KEYS do
  local key = KEYS[n]
  local limit, window = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local claim, want, inside = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local sent, wishes, leaves = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7] == '1'
  at = at + 8
  local kept = is_ours(key)
  local all = redis.call('HGETALL', key)
  local held, others, late = 0, {}, false
  for i = 1, #all, 2 do
    local name = all[i]
    local entry = unpack_entry(name, all[i + 1], limit, window)
    if name == id then
      late = entry ~= nil and entry[1] >= call
    elseif not entry then
      redis.call('HDEL', key, name)
      kept = false
    else
      local sum = used(entry[5])
      local rests = now < entry[4] + 2 * window
      -- Longer by a lease: what one asked before it went may come after it.
      if now >= entry[4] + 2 * window + lease and sum == 0 then
        redis.call('HDEL', key, name)
      else
        -- Nobody has more than all: whatever it claims, it is counted.
        local holds = math.min(rests and math.max(entry[2], sum + entry[3]) or sum, limit)
        held = held + holds
        local lives = now < entry[4] and 1 or 0
        others[#others + 1] = { name, lives, holds, entry[6] }
      end
    end
  end
  -- What was thrown away may have stood for somebody, who tells it again.
  if not kept then
    redis.call('HSET', KEYS[1], 'since', now)
    whole, answer[3] = false, 0
  end
  if late then
    answer[#answer + 1] = false
  else
    -- What the store had lost it may have given away twice: then there is less than is claimed.
    local most = math.max(0, limit - held)
    if not whole then most = math.min(claim, most) end
    local cap = leaves and 0 or math.min(want, most)
    -- Until it says that it has heard of less, it may send what it claims.
    local may = leaves and 0 or math.max(cap, math.min(claim, limit))
    local lasts = leaves and now - 2 * window or now + lease
    local ends = {}
    for after, calls in string.gmatch(sent, '(%d+):(%d+)') do
      ends[#ends + 1] = string.format('%.0f:%s', now + tonumber(after), calls)
    end
    redis.call('HSET', key, id, cmsgpack.pack({ call, may, inside, lasts, table.concat(ends, ','), wishes }))
    redis.call('PEXPIRE', key, 3 * (window + lease))
    answer[#answer + 1] = { cap, others }
  end
end
-- It counts, whether or not the user may use channels: others find out by asking.
if ARGV[7] == '1' then redis.pcall('PUBLISH', ARGV[6], id) end
return answer
