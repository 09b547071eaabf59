#!lua flags=no-writes
--[[ place: where a number stands, when the snapshot cannot tell.

KEYS  1 generation  string  the epoch whose state this is
      2 wait        zset    user -> number
      3 pend        zset    user -> number
      4 turns       hash    user -> number
ARGV  1 epoch
      2 user
      3 number
Reply {"ACTIVE"} | {"PENDING"} | {"WAITING"} | {"ABSENT"} | {"STALE"}
Cost  O(1)
Why   One look at three keys: between two looks the person could move from one to the next and seem to be nowhere.
]]
local generation, wait, pend, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, user, number = ARGV[1], ARGV[2], tonumber(ARGV[3])

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
return { 'ABSENT' }
