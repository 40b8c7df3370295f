-- KEYS token, lock. ARGV who, lease, beat: a holder that is silent for so long is dead (ms).
local lease, beat = tonumber(ARGV[2]), tonumber(ARGV[3])
local lock = fields(KEYS[2], 'by', 'beat')
local token = stored(KEYS[1])
local ends = redis.call('PTTL', KEYS[2])
-- One that never ends, or not for long, is none of ours.
local held = lock[1] and lock[1] ~= ARGV[1] and ends > 0 and ends <= 10 * lease
local silent = now - number(lock[2], now + beat)
if held and silent <= beat then
  return { 0, ends, token.record }
end
local fence = math.max(token.newest + 1, now)
-- The newest fence outlives the lock: whoever had an older one has lost. It is written first: a full store
-- refuses that, where it would let go on what began with a DEL, for a token that it has no room for.
redis.call('HSET', KEYS[1], 'fence', fence)
lives(KEYS[1], lease + 60000)
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'by', ARGV[1], 'fence', fence, 'beat', now)
redis.call('PEXPIRE', KEYS[2], lease)
return { 1, fence, token.record }
