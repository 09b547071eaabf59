#!lua
--[[ disown: a state that was put back to an older one is no epoch's any more.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    n: arrivals of this epoch
ARGV  1 epoch
      2 number  one that was signed
      3 base    arrivals of this epoch are numbered behind it
Reply {"DISOWNED"} | {"OWNED"} | {"STALE"}
Cost  O(1)
Why   Who joins a line that has forgotten how many came gets a number that is somebody else's. Without its generation
      the line is in doubt for every instance, and is rebuilt.
]]
local generation, line = KEYS[1], KEYS[2]
local epoch, number, base = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local arrivals = tonumber(redis.call('HGET', line, 'n') or nil) or 0
if number <= base + arrivals then
  return { 'OWNED' }
end
redis.call('DEL', generation)
return { 'DISOWNED' }
