#!lua
--[[ open: make the first generation of a queue's state, once.

KEYS  1 generation  string  the epoch whose state this is
ARGV  1 epoch
Reply {"OPEN"} | {"STALE"}
Cost  O(1)
Why   An absent generation means "no state", so a new queue must say aloud that it is empty. Only the first epoch may be
      opened like this: a later one had people in it.
]]
local generation = KEYS[1]
local epoch = ARGV[1]

local found = redis.call('GET', generation)
if found and found ~= epoch then
  return { 'STALE' }
end
redis.call('SET', generation, epoch)
return { 'OPEN' }
