#!lua
--[[ rebuild_resume: end the pause after a rebuild once it is over, or make it longer for people who were turned away.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    pause_until: 0 when there is no pause; asked_until: how long it is to last for people who
                          were turned away; extended: how often it was made longer
ARGV  1 epoch
      2 now_ms
      3 asked_until_ms  until when people who were turned away are to be waited for; 0: nobody was
Reply {"RESUMED"} | {"PAUSED"} | {"STALE"}
Cost  O(1)
Why   Longer at most three times, each counted when the time before it is over: a person who is never answered stops
      nobody. What was earned meanwhile is not given.
]]
local generation, line = KEYS[1], KEYS[2]
local epoch, now, asked = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local state = redis.call('HMGET', line, 'pause_until', 'extended', 'asked_until')
local pause_until, extended = tonumber(state[1] or nil) or 0, tonumber(state[2] or nil) or 0
local asked_until = math.max(asked, tonumber(state[3] or nil) or 0)
if pause_until == 0 then
  return { 'RESUMED' }
end
if asked == asked_until then
  redis.call('HSET', line, 'asked_until', string.format('%.0f', asked))
end
if tonumber(now) < pause_until then
  return { 'PAUSED' }
end
if asked_until > pause_until and extended < 3 then
  redis.call('HSET', line, 'pause_until', string.format('%.0f', asked_until), 'extended', extended + 1)
  return { 'PAUSED' }
end
redis.call('HSET', line, 'pause_until', 0, 'last_ms', now)
return { 'RESUMED' }
