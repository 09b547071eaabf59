#!lua
--[[ join: give a person the number he has already, or the next one.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    n: arrivals of this epoch; idle_ms: until when nobody waited
      3 wait        zset    user -> number
      4 pend        zset    user -> number
      5 turns       hash    user -> number
ARGV  1 epoch
      2 user
      3 base         the number before the epoch's first arrival
      4 waiting_max
      5 now_ms
Reply {"NEW", number} | {"WAITING", number} | {"PENDING", number} | {"ACTIVE", number} | {"FULL"} | {"STALE"}
Cost  O(log waiting)
Why   Looking for the number and taking the next one must be one step: the same person joins from two tabs at once.
]]
local generation, line, wait, pend, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, user, base = ARGV[1], ARGV[2], tonumber(ARGV[3])
local waiting_max, now_ms = tonumber(ARGV[4]), ARGV[5]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local active = redis.call('HGET', turns, user)
if active then
  return { 'ACTIVE', active }
end
local pending = redis.call('ZSCORE', pend, user)
if pending then
  return { 'PENDING', string.format('%.0f', tonumber(pending)) }
end
local waiting = redis.call('ZSCORE', wait, user)
if waiting then
  return { 'WAITING', string.format('%.0f', tonumber(waiting)) }
end
local ahead = redis.call('ZCARD', wait)
if ahead >= waiting_max then
  return { 'FULL' }
end
if ahead == 0 then
  redis.call('HSET', line, 'idle_ms', now_ms)
end
local number = string.format('%.0f', base + redis.call('HINCRBY', line, 'n', 1))
redis.call('ZADD', wait, number, user)
return { 'NEW', number }
