#!lua
--[[ rebuild_resume: end the pause after a rebuild once it is over, or make it longer for people who were turned away.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    pause_until: 0 when there is no pause; extended: how often it was made longer
ARGV  1 epoch
      2 now_ms
      3 pause_until_ms  until when it lasts if it is made longer now; 0: nobody was turned away
Reply {"RESUMED"} | {"PAUSED"} | {"STALE"}
Cost  O(1)
Why   Longer at most three times: a person who is never answered stops nobody. What was earned meanwhile is not given.
]]
local generation, line = KEYS[1], KEYS[2]
local epoch, now, longer = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local state = redis.call('HMGET', line, 'pause_until', 'extended')
local pause_until, extended = tonumber(state[1] or nil) or 0, tonumber(state[2] or nil) or 0
if pause_until == 0 then
  return { 'RESUMED' }
end
if longer > pause_until and extended < 3 then
  redis.call('HSET', line, 'pause_until', longer, 'extended', extended + 1)
  return { 'PAUSED' }
end
if tonumber(now) < pause_until then
  return { 'PAUSED' }
end
redis.call('HSET', line, 'pause_until', 0, 'last_ms', now)
return { 'RESUMED' }
