#!lua
--[[ draw_open: end the draw, once; whoever comes from now on comes behind it.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    drawing: 1 while the draw is on, 0 once it is opened; drawn: numbers of it that were given
      3 left        hash    user -> the number with which he left the draw
ARGV  1 epoch
Reply {"OPENED", drawn} | {"STALE"}
Cost  O(people who left the draw)
Why   The first batch is taken after this step, and no number of the draw is given after it: an instance that hears late
      of the opening cannot put anybody in front.
]]
local generation, line, left = KEYS[1], KEYS[2], KEYS[3]
local epoch = ARGV[1]

if redis.call('GET', generation) ~= epoch then return { 'STALE' } end
local state = redis.call('HMGET', line, 'drawing', 'drawn')
if state[1] ~= '0' then
  redis.call('HSET', line, 'drawing', 0)
  redis.call('DEL', left)
end
return { 'OPENED', state[2] or '0' }
