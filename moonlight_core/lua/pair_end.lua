-- Write how a pairing ended, if it is still that of whoever began it.
-- KEYS: 1 the pairing
-- ARGV: 1 token of whoever began it, 2 seconds to keep it, then field, value, …
-- Returns: 1 written, 0 it is over or somebody else's
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', KEYS[1], 'token')
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
