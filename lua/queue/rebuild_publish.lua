#!lua
--[[ rebuild_publish: say that this state is the epoch's, and let nobody in before people are back.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    as `join` and `admit_reserve` find it: empty but for what follows
ARGV  1 epoch
      2 now_ms
      3 serving       the highest number that has a row in SQL because it came up
      4 manual_total  turns ever granted by hand: what was not used is dropped
      5 pause_until_ms
      6 drawing       1 while a draw is on, 0 when it is opened, - when there is none
Reply {"PUBLISHED"} | {"STALE"}
Cost  O(1)
Why   The generation comes last: whoever sees it sees all of it. The credit begins at nothing, and the pause is counted
      from here: only now can people come back.
]]
local generation, line = KEYS[1], KEYS[2]
local epoch, now, serving, manual_total, pause_until, drawing = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

if redis.call('EXISTS', generation) == 1 or redis.call('HGET', line, 'staging') ~= epoch then
  return { 'STALE' }
end
redis.call('DEL', line)
redis.call('HSET', line, 'serving', serving, 'served', serving, 'manual_used', manual_total, 'last_ms', now,
  'at_ms', now, 'pause_until', pause_until)
if drawing ~= '-' then
  redis.call('HSET', line, 'drawing', drawing)
end
redis.call('SET', generation, epoch)
return { 'PUBLISHED' }
