#!lua
--[[ draw_announce: begin a draw on a line that nobody has ever joined.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    n: arrivals of this epoch; drawing: 1 while a draw is on, 0 once it is opened
      3 wait        zset    user -> number
ARGV  1 epoch
Reply {"ANNOUNCED"} | {"IN_USE"} | {"STALE"}
Cost  O(1)
Why   From this step on `join` gives no number, on whichever instance: nobody can stand between the draw and those who
      come after it.
]]
local generation, line, wait = KEYS[1], KEYS[2], KEYS[3]
local epoch = ARGV[1]

if redis.call('GET', generation) ~= epoch then return { 'STALE' } end
if redis.call('HEXISTS', line, 'drawing') == 1 then return { 'ANNOUNCED' } end
local arrivals = tonumber(redis.call('HGET', line, 'n') or nil) or 0
if arrivals > 0 or redis.call('ZCARD', wait) > 0 then return { 'IN_USE' } end
redis.call('HSET', line, 'drawing', 1)
return { 'ANNOUNCED' }
