-- KEYS token. ARGV serial.
if stored(KEYS[1]).serial ~= tonumber(ARGV[1]) then return 0 end
return redis.call('HDEL', KEYS[1], 'gone')
