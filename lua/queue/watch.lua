#!lua flags=no-writes
--[[ watch: the figures of the line that everybody's answers are made from.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    serving: highest number ever taken out of the line; n: arrivals of this epoch
      3 wait        zset    user -> number
      4 act         zset    user -> look_at_ms
ARGV  1 epoch
Reply {"LINE", serving, arrivals, waiting, active} | {"STALE"}
Cost  O(1)
Why   The figures belong together: read one by one they could say that more are served than came.
]]
local generation, line, wait, act = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch = ARGV[1]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local figures = redis.call('HMGET', line, 'serving', 'n')
return { 'LINE', figures[1] or '0', figures[2] or '0', redis.call('ZCARD', wait), redis.call('ZCARD', act) }
