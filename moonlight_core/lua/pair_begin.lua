-- Begin a pairing, unless one is under way or too many PINs were tried lately.
-- KEYS: 1 the pairing, 2 when PINs were tried
-- ARGV: 1 token of whoever begins, 2 seconds after which the pairing is over in any case,
--       3 most PINs in the window, 4 the window in seconds
-- Returns: {1, 0} begun; {0, 0} one is under way; {2, s} too many PINs, the next may be in s seconds
if redis.call('HGET', KEYS[1], 'status') == 'waiting' then
  return {0, 0}
end
local now = tonumber(redis.call('TIME')[1])
local most, window = tonumber(ARGV[3]), tonumber(ARGV[4])
local earliest = tonumber(redis.call('LINDEX', KEYS[2], most - 1) or 0)
if now - earliest < window then
  return {2, window - (now - earliest)}
end
redis.call('LPUSH', KEYS[2], now)
redis.call('LTRIM', KEYS[2], 0, most - 1)
redis.call('EXPIRE', KEYS[2], window)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'status', 'waiting', 'token', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {1, 0}
