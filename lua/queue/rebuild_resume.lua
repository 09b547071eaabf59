#!lua
--[[ rebuild_resume: end the pause after a rebuild once it is over, or make it longer for people who were turned away.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    pause_until: 0 when there is no pause; extended: how often it was made longer; serving;
                          ahead: for each later epoch, newest first, how many waited before its first number
      3 wait        zset    user -> number
ARGV  1 epoch
      2 now_ms
      3 pause_until_ms  until when it lasts if it is made longer now; 0: nobody was turned away
      4 epochs_max      epochs that `ahead` knows of
Reply {"RESUMED"} | {"PAUSED"} | {"STALE"}
Cost  O(epochs_max · log waiting)
Why   Whoever is back by now is counted now: from here on places are told, and they only fall. At most three times
      longer: a person who is never answered stops nobody.
]]
local generation, line, wait = KEYS[1], KEYS[2], KEYS[3]
local epoch, now, longer, epochs_max = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local state = redis.call('HMGET', line, 'pause_until', 'extended', 'serving')
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
local base, ahead = 2 ^ 40, {}
local serving_epoch = math.floor((tonumber(state[3] or nil) or 0) / base)
local last = math.max(serving_epoch, epoch - epochs_max)
for later = tonumber(epoch), last + 1, -1 do
  ahead[#ahead + 1] = redis.call('ZCOUNT', wait, '-inf', string.format('(%.0f', later * base))
end
redis.call('HSET', line, 'pause_until', 0, 'taken', 0, 'ahead', table.concat(ahead, ' '), 'last_ms', now)
return { 'RESUMED' }
