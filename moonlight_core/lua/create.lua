-- Write the record of a new session, unless its user has enough of them, and give it an identity.
-- KEYS: 1 record, 2 all sessions, 3 live sessions, 4 the user's sessions, 5 the user's live sessions,
--       6 when the user asked for sessions lately
-- ARGV: 1 session id, 2 time of creation (Unix seconds), 3 most live sessions of the user
--       (-1: no limit), 4 the same of all users, 5 most sessions that the user may ask for in a
--       minute (-1: no limit), then field, value, field, value, … of the record
-- Returns: {1, identity, revision} written, with the lowest number from 1 on that no live session of
--          the user has; {0, live, 0} the limit is reached, live is how many the user has; {2, 0, 0}
--          the record exists already; {3, live, 0} there are as many of all users as there may be;
--          {4, seconds, 0} the user asked for too many, and may again in so many seconds
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {2, 0, 0}
end
local live = redis.call('ZCARD', KEYS[5])
local limit = tonumber(ARGV[3])
if limit >= 0 and live >= limit then
  return {0, live, 0}
end
local total = redis.call('ZCARD', KEYS[3])
if tonumber(ARGV[4]) >= 0 and total >= tonumber(ARGV[4]) then
  return {3, total, 0}
end
local now, most, window = tonumber(redis.call('TIME')[1]), tonumber(ARGV[5]), 60
if most >= 0 then
  local earliest = tonumber(redis.call('LINDEX', KEYS[6], most - 1) or 0)
  if now - earliest < window then
    return {4, window - (now - earliest), 0}
  end
  redis.call('LPUSH', KEYS[6], now)
  redis.call('LTRIM', KEYS[6], 0, most - 1)
  redis.call('EXPIRE', KEYS[6], window)
end
-- The score of a live session is its identity. A number is free from low to high: of all from 1 to
-- one more than there are sessions at first, then in the half where fewer are taken than there are.
local low, high = 1, live + 1
while low < high do
  local middle = math.floor((low + high) / 2)
  if redis.call('ZCOUNT', KEYS[5], low, middle) > middle - low then
    low = middle + 1
  else
    high = middle
  end
end
local identity = low
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
local revision = next_revision()
redis.call('HSET', KEYS[1], 'identity', identity, 'revision', revision)
for key = 2, 4 do
  redis.call('ZADD', KEYS[key], ARGV[2], ARGV[1])
end
redis.call('ZADD', KEYS[5], identity, ARGV[1])
return {1, identity, tonumber(revision)}
