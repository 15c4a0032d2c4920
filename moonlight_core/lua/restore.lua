-- Write the record and the lease of a session that Slurm knows and Redis has lost.
-- KEYS: 1 record, 2 all sessions, 3 live sessions, 4 the user's sessions, 5 the user's live sessions,
--       6 leases of the node, 7 nodes
-- ARGV: 1 session id, 2 time of creation (Unix seconds), 3 node ('' without a lease),
--       4 lease ("<display> <base port>"), 5 identity, then field, value, … of the record
-- Returns: 1 restored, 0 the record exists
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('HSET', KEYS[1], 'revision', next_revision())
for key = 2, 4 do
  redis.call('ZADD', KEYS[key], ARGV[2], ARGV[1])
end
redis.call('ZADD', KEYS[5], ARGV[5], ARGV[1])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[6], ARGV[1], ARGV[4])
  redis.call('SADD', KEYS[7], ARGV[3])
end
return 1
