#!lua flags=no-writes
--[[ watch: the figures of the line that everybody's answers are made from.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    serving: highest number ever taken out of the line; served: the same before the batch that
                          is out; n: arrivals of this epoch; pause_until
      3 wait        zset    user -> number
      4 pend        zset    user -> number
      5 act         zset    user -> look_at_ms
ARGV  1 epoch
Reply {"LINE", serving, arrivals, waiting, pending (of those who wait), active, pause_until} | {"STALE"}
Cost  O(1)
Why   The figures belong together: read one by one they could say that more are served than came. A batch that is not in
      SQL yet is not served: if it is lost, places would rise. Its people wait meanwhile: nobody is missed.
]]
local generation, line, wait, pend, act = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch = ARGV[1]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local pending = redis.call('ZCARD', pend)
local serving = pending == 0 and 'serving' or 'served'
local figures = redis.call('HMGET', line, serving, 'n', 'pause_until')
return { 'LINE', figures[1] or '0', figures[2] or '0', redis.call('ZCARD', wait) + pending, pending,
  redis.call('ZCARD', act), figures[3] or '0' }
