#!lua flags=no-writes
--[[ place: where a number stands, when the snapshot cannot tell.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    n: arrivals of this epoch
      3 wait        zset    user -> number
      4 pend        zset    user -> number
      5 turns       hash    user -> number
ARGV  1 epoch
      2 user
      3 number
      4 base    arrivals of this epoch are numbered behind it
Reply {"ACTIVE"} | {"PENDING"} | {"WAITING"} | {"ABSENT"} | {"UNGIVEN"} | {"STALE"}
Cost  O(1)
Why   One look at three keys: between two looks the person could move from one to the next and seem to be nowhere. A
      number that was signed and is not given yet says that the line was put back to an older state.
]]
local generation, line, wait, pend, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, user, number, base = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
if tonumber(redis.call('HGET', turns, user) or nil) == number then
  return { 'ACTIVE' }
end
if tonumber(redis.call('ZSCORE', pend, user) or nil) == number then
  return { 'PENDING' }
end
if tonumber(redis.call('ZSCORE', wait, user) or nil) == number then
  return { 'WAITING' }
end
local arrivals = tonumber(redis.call('HGET', line, 'n') or nil) or 0
if number > base + arrivals then
  return { 'UNGIVEN' }
end
return { 'ABSENT' }
