#!lua
--[[ rebuild_fill: write turns that SQL has open, and people who left the draw that is on.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    staging: the epoch that is being rebuilt
      3 act         zset    user -> look_at_ms
      4 turns       hash    user -> number
      5 left        hash    user -> the number with which he left the draw
ARGV  1 epoch
      2 look_at_ms  when SQL is asked whether these turns go on
      3 open        how many of: user, number
      4.. the open turns; then of those who left: user, number   (rebuild_max in all)
Reply {"FILLED"} | {"STALE"}
Cost  O(entries · log active)
Why   What is open in SQL counts against the cap before anybody is admitted in the new epoch.
]]
local generation, line, act, turns, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, look_at, open = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('EXISTS', generation) == 1 or redis.call('HGET', line, 'staging') ~= epoch then
  return { 'STALE' }
end
for i = 4, #ARGV, 2 do
  if i < 4 + 2 * open then
    redis.call('ZADD', act, look_at, ARGV[i])
    redis.call('HSET', turns, ARGV[i], ARGV[i + 1])
  else
    redis.call('HSET', left, ARGV[i], ARGV[i + 1])
  end
end
return { 'FILLED' }
