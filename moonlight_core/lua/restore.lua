-- Write the record and the lease of a session that Slurm knows and Redis has lost.
-- KEYS: 1 record, 2 all sessions, 3 live sessions, 4 the user's sessions, 5 the user's live sessions,
--       6 leases of the node, 7 nodes
-- ARGV: 1 session id, 2 time of creation (Unix seconds), 3 node ('' without a lease),
--       4 lease ("<display> <base port>"), 5 identity, 6 clashing differences of base ports,
--       separated by spaces, then field, value, … of the record
-- Returns: 1 restored, 0 the record exists, 2 another session's lease meets this one
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
if ARGV[3] ~= '' then
  local clashes = {}
  for difference in string.gmatch(ARGV[6], '%d+') do
    clashes[tonumber(difference)] = true
  end
  local display, port = string.match(ARGV[4], '^(%d+) (%d+)$')
  local leases = redis.call('HGETALL', KEYS[6])
  for i = 1, #leases, 2 do
    local used_display, used_port = string.match(leases[i + 1], '^(%d+) (%d+)$')
    if leases[i] ~= ARGV[1]
      and (used_display == display or clashes[math.abs(used_port - port)]) then
      return 2
    end
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
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
