-- No operation of its own: this text comes before that of each script that changes a record.
-- A revision is the time of the change in microseconds, and later than the one before: no record ever
-- has one again that it had in an earlier life, before Redis was lost or set back to a copy. So what
-- was decided on, or is remembered of, that life is never taken for this one's.
local function next_revision(revision)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  return string.format('%.0f', math.max(now, tonumber(revision or 0) + 1))
end
