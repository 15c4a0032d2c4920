-- Take a session's slot back, and keep parts of it out of use for a while.
-- KEYS: 1 record, 2 leases of the node, 3 blocked slots of the node
-- ARGV: 1 session id, 2 the revision that was read, 3 seconds to block, then what to block:
--       'display:<n>' or 'port:<n>'; nothing to only take the slot back
-- Returns: the new revision; 0 the record is gone or has another revision
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[2] then
  return 0
end
-- First what frees memory: a script that has begun to write is let through where Redis is full.
redis.call('HDEL', KEYS[2], ARGV[1])
local till = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[3])
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[3], till, ARGV[i])
end
redis.call('HDEL', KEYS[1], 'display_num', 'sunshine_port')
local revision = next_revision(ARGV[2])
redis.call('HSET', KEYS[1], 'revision', revision)
return tonumber(revision)
