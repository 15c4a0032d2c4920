-- Change fields of a record if nobody has changed it since it was read.
-- KEYS: 1 record
-- ARGV: 1 the revision that was read, 2 channel, 3 message for it ('' for none),
--       then field, value, … ('' removes a field)
-- Returns: the new revision; 0 the record is gone or has another revision
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then
  return 0
end
-- A write that takes no memory comes first: a script that has begun to write is let through where Redis
-- is full, and what happens to the sessions that there are must be told even then.
redis.call('HDEL', KEYS[1], '')
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
local revision = next_revision(ARGV[1])
redis.call('HSET', KEYS[1], 'revision', revision)
if ARGV[3] ~= '' then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return tonumber(revision)
