-- KEYS token. ARGV serial, note, channel, message.
local token = stored(KEYS[1])
if token.serial > tonumber(ARGV[1]) then return 0 end
if token.serial == tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'gone', ARGV[2]) end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
