-- KEYS token, lock. ARGV who, fence, left (ms), sealed, channel, message.
local fence, left = tonumber(ARGV[2]), tonumber(ARGV[3])
local token = stored(KEYS[1])
if token.newest > fence or token.record[1] >= fence then return { 0, token.record } end
redis.call('HSET', KEYS[1], 'serial', fence, 'fence', fence, 'expires', now + left, 'sealed', ARGV[4])
redis.call('HDEL', KEYS[1], 'gone')
redis.call('PEXPIRE', KEYS[1], left + 60000)
local lock = fields(KEYS[2], 'by', 'fence')
if lock[1] == ARGV[1] and lock[2] == ARGV[2] then redis.call('DEL', KEYS[2]) end
-- It counts, whether or not the user may use channels: others find out by asking.
redis.pcall('PUBLISH', ARGV[5], ARGV[6])
return { 1, token.record }
