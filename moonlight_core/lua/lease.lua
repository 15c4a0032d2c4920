-- Give a session a display and a base port on a node; asked again it answers the same.
-- KEYS: 1 record, 2 leases of the node, 3 blocked slots of the node, 4 nodes
-- ARGV: 1 session id, 2 the revision that was read, 3 node, 4 clashing differences of base ports,
--       separated by spaces, 5 number of displays offered, then the displays, then the base ports,
--       the preferred ones first
-- Returns: {1, display, port} leased; {0} no slot is free; {2} the record is gone or has another
--          revision
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
  local displays = tonumber(ARGV[5])
  for i = 6, 5 + displays do
    if not used_displays[ARGV[i]] and not redis.call('ZSCORE', KEYS[3], 'display:' .. ARGV[i]) then
      display = ARGV[i]
      break
    end
  end
  for i = 6 + displays, #ARGV do
    local free = not redis.call('ZSCORE', KEYS[3], 'port:' .. ARGV[i])
    for _, used in ipairs(used_ports) do
      free = free and not clashes[math.abs(used - tonumber(ARGV[i]))]
    end
    if free then
      port = ARGV[i]
      break
    end
  end
  if not display or not port then
    return {0}
  end
  redis.call('HSET', KEYS[2], ARGV[1], display .. ' ' .. port)
  redis.call('SADD', KEYS[4], ARGV[3])
end
redis.call('HSET', KEYS[1], 'slurm_node', ARGV[3], 'display_num', display, 'sunshine_port', port)
redis.call('HSET', KEYS[1], 'revision', next_revision(ARGV[2]))
return {1, tonumber(display), tonumber(port)}
