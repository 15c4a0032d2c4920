-- Read records, but of those that the caller knows already only that they are unchanged.
-- KEYS: the records
-- ARGV: for each of them the revision that the caller knows, '' for none
-- Returns: for each of them: 1 it has that revision still; nil there is none;
--          {field, value, field, value, …} otherwise
local answer = {}
for i, key in ipairs(KEYS) do
  local revision = redis.call('HGET', key, 'revision')
  if not revision then
    answer[i] = false
  elseif revision == ARGV[i] then
    answer[i] = 1
  else
    answer[i] = redis.call('HGETALL', key)
  end
end
return answer
