-- Write the record of a new session, unless its user has enough of them.
-- KEYS: 1 record, 2 all sessions, 3 live sessions, 4 the user's sessions, 5 the user's live sessions
-- ARGV: 1 session id, 2 time of creation (Unix seconds), 3 most live sessions of the user
--       (-1: no limit), then field, value, field, value, … of the record
-- Returns: {1, live} written; {0, live} the limit is reached; {2, live} the record exists already;
--          live is how many live sessions the user has now
local live = redis.call('ZCARD', KEYS[5])
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {2, live}
end
local limit = tonumber(ARGV[3])
if limit >= 0 and live >= limit then
  return {0, live}
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
for key = 2, 5 do
  redis.call('ZADD', KEYS[key], ARGV[2], ARGV[1])
end
return {1, live + 1}
