-- Remove a lease whose session has no record, or has a record that ended or lives elsewhere.
-- KEYS: 1 record, 2 leases of the node
-- ARGV: 1 session id, 2 node
-- Returns: 1 removed, 0 the session lives there and keeps its lease
local found = redis.call('HMGET', KEYS[1], 'status', 'slurm_node')
local status, node = found[1], found[2]
if status and status ~= 'stopped' and status ~= 'failed' and node == ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[2], ARGV[1])
