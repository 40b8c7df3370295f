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

-- What is there in our place and is none of ours goes.
local function ours(key)
  local fields = redis.pcall('HLEN', key)
  if type(fields) ~= 'number' or fields > MOST then redis.call('DEL', key) end
end

-- What was lost is told again within a lease by whoever lives.
ours(KEYS[1])
local age = redis.call('HMGET', KEYS[1], 'since', 'version')
local since, version = tonumber(age[1] or nil), tonumber(age[2] or nil) or 0
if not since then
  since = fresh and now - lease or now
elseif version < seen then
  since = now
end
since = math.min(since, now)
version = math.max(version, seen) + 1
redis.call('HSET', KEYS[1], 'since', since, 'version', version)
redis.call('PEXPIRE', KEYS[1], DAY)
local whole = now >= since + lease

-- What is no entry is nobody's; what claims too much is cut to what can be.
local function unpack_entry(packed, limit)
  if #packed > LONGEST then return nil end
  local ok, entry = pcall(cmsgpack.unpack, packed)
  if not ok or type(entry) ~= 'table' then return nil end
  for field = 1, 4 do
    if type(entry[field]) ~= 'number' then return nil end
  end
  if type(entry[5]) ~= 'string' or type(entry[6]) ~= 'string' then return nil end
  entry[2] = math.max(0, math.min(entry[2], limit))
  entry[3] = math.max(0, math.min(entry[3], limit))
  entry[4] = math.min(entry[4], now + lease)
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
  ours(key)
  local all = redis.call('HGETALL', key)
  local held, others, late = 0, {}, false
  for i = 1, #all, 2 do
    local name, entry = all[i], unpack_entry(all[i + 1], limit)
    if name == id then
      late = entry ~= nil and entry[1] >= call
    elseif not entry then
      redis.call('HDEL', key, name)
    else
      local sum = used(entry[5])
      local kept = now < entry[4] + window
      if not kept and sum == 0 then
        redis.call('HDEL', key, name)
      else
        local holds = kept and math.max(entry[2], sum + entry[3]) or sum
        held = held + holds
        local lives = now < entry[4] and 1 or 0
        others[#others + 1] = { name, lives, holds, entry[6] }
      end
    end
  end
  if late then
    answer[#answer + 1] = false
  else
    local most = claim
    if whole then most = math.max(claim, limit - held) end
    local cap = leaves and 0 or math.max(0, math.min(want, most, limit))
    local lasts = leaves and now - window or now + lease
    local ends = {}
    for after, calls in string.gmatch(sent, '(%d+):(%d+)') do
      ends[#ends + 1] = string.format('%.0f:%s', now + tonumber(after), calls)
    end
    redis.call('HSET', key, id, cmsgpack.pack({ call, cap, inside, lasts, table.concat(ends, ','), wishes }))
    redis.call('PEXPIRE', key, 2 * (window + lease))
    answer[#answer + 1] = { cap, others }
  end
end
if ARGV[7] == '1' then redis.call('PUBLISH', ARGV[6], id) end
return answer
