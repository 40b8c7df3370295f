-- KEYS token. ARGV serial, note, channel, message.
local token = stored(KEYS[1])
if token.serial > tonumber(ARGV[1]) then return 0 end
if token.serial == tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'gone', ARGV[2]) end
-- It counts, whether or not the user may use channels: others find out by asking.
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
