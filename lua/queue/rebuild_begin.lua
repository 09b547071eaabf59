#!lua
--[[ rebuild_begin: empty what SQL will write anew, and keep who waits.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    staging: the epoch that is being rebuilt
      3 pend        zset    user -> number
      4 act         zset    user -> look_at_ms
      5 turns       hash    user -> number
      6 left        hash    user -> the number with which he left the draw
ARGV  1 epoch
Reply {"BEGUN"} | {"STALE"}
Cost  O(what is emptied)
Why   Without a generation every other script answers STALE: nobody acts on a state that is half made. An epoch that is
      published, or that a later one has overtaken, is not begun again.
]]
local generation, line, pend, act, turns, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local epoch = tonumber(ARGV[1])

local published = tonumber(redis.call('GET', generation) or nil) or 0
local staging = tonumber(redis.call('HGET', line, 'staging') or nil) or 0
if published >= epoch or staging > epoch then
  return { 'STALE' }
end
redis.call('DEL', generation, line, pend, act, turns, left)
redis.call('HSET', line, 'staging', epoch)
return { 'BEGUN' }
