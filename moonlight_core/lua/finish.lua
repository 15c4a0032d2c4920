-- End a session: the last fields, the lease back, out of the live sets, a time to live.
-- KEYS: 1 record, 2 live sessions, 3 the user's live sessions, 4 leases of the session's node
-- ARGV: 1 session id, 2 the revision that was read, 3 seconds to keep the record (0: remove it now),
--       4 channel, 5 message for it, then field, value, … ('' removes a field)
-- Returns: 1 ended, 0 the record is gone or has another revision
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[2] then
  return 0
end
-- First what frees memory: a script that has begun to write is let through where Redis is full.
redis.call('HDEL', KEYS[4], ARGV[1])
for i = 6, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('HSET', KEYS[1], 'revision', next_revision(ARGV[2]))
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
