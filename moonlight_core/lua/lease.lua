-- Give a session a display and a base port on a node; asked again it answers the same.
-- KEYS: 1 record, 2 leases of the node, 3 blocked slots of the node, 4 nodes
-- ARGV: 1 session id, 2 the revision that was read, 3 node, 4 clashing differences of base ports,
--       separated by spaces, 5 displays offered, 6 base ports offered, both separated by spaces and
--       with the preferred ones first
-- Returns: {1, display, port, revision} leased; {0} no slot is free; {2} the record is gone or has
--          another revision
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[2] then
  return {2}
end
local mine = redis.call('HGET', KEYS[2], ARGV[1])
local display, port
if mine then
  display, port = string.match(mine, '^(%d+) (%d+)$')
else
  local now = tonumber(redis.call('TIME')[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  local used_displays, used_ports, clashes = {}, {}, {}
  for _, lease in ipairs(redis.call('HVALS', KEYS[2])) do
    local used_display, used_port = string.match(lease, '^(%d+) (%d+)$')
    used_displays[used_display] = true
    table.insert(used_ports, tonumber(used_port))
  end
  for difference in string.gmatch(ARGV[4], '%d+') do
    clashes[tonumber(difference)] = true
  end
  for offered in string.gmatch(ARGV[5], '%d+') do
    if not used_displays[offered] and not redis.call('ZSCORE', KEYS[3], 'display:' .. offered) then
      display = offered
      break
    end
  end
  for offered in string.gmatch(ARGV[6], '%d+') do
    local free = not redis.call('ZSCORE', KEYS[3], 'port:' .. offered)
    for _, used in ipairs(used_ports) do
      free = free and not clashes[math.abs(used - tonumber(offered))]
    end
    if free then
      port = offered
      break
    end
  end
  if not display or not port then
    return {0}
  end
  redis.call('HSET', KEYS[2], ARGV[1], display .. ' ' .. port)
  redis.call('SADD', KEYS[4], ARGV[3])
end
local revision = next_revision(ARGV[2])
redis.call('HSET', KEYS[1], 'slurm_node', ARGV[3], 'display_num', display, 'sunshine_port', port,
  'revision', revision)
return {1, tonumber(display), tonumber(port), tonumber(revision)}
