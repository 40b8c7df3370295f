-- KEYS lock. ARGV who, fence.
local lock = fields(KEYS[1], 'by', 'fence')
if lock[1] ~= ARGV[1] or lock[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'beat', now)
return 1
