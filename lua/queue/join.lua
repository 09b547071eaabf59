#!lua
--[[ join: give each person the number he has already, or the next one.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    n: arrivals of this epoch; idle_ms: until when nobody waited; drawing: 1 while a draw is on
      3 wait        zset    user -> number
      4 pend        zset    user -> number
      5 turns       hash    user -> number
ARGV  1 epoch
      2 base         the number before the epoch's first arrival
      3 waiting_max
      4 now_ms
      5.. users, in the order of their coming   (1 to joins_max)
Reply {"JOINED", standing, number, …}, one of new, waiting, pending, active, full for each user | {"DRAWING"}
      | {"STALE"}
Cost  O(users · log waiting)
Why   Looking for the number and taking the next one must be one step: the same person joins from two tabs at once.
      Many at a time, because a call costs more than a join.
]]
local generation, line, wait, pend, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, base, waiting_max, now_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
if redis.call('HGET', line, 'drawing') == '1' then
  return { 'DRAWING' }
end
local people, reply, given, taken = {}, { 'JOINED' }, {}, {}
for i = 5, #ARGV do
  people[#people + 1] = ARGV[i]
end
local active = redis.call('HMGET', turns, unpack(people))
local pending = redis.call('ZMSCORE', pend, unpack(people))
local waiting = redis.call('ZMSCORE', wait, unpack(people))
local ahead = redis.call('ZCARD', wait)
local arrivals = tonumber(redis.call('HGET', line, 'n') or nil) or 0
local function say(standing, number)
  reply[#reply + 1] = standing
  reply[#reply + 1] = string.format('%.0f', tonumber(number))
end
for i, user in ipairs(people) do
  if active[i] then
    say('active', active[i])
  elseif pending[i] then
    say('pending', pending[i])
  elseif waiting[i] or given[user] then
    say('waiting', waiting[i] or given[user])
  elseif ahead + #taken / 2 >= waiting_max then
    say('full', 0)
  else
    arrivals = arrivals + 1
    given[user] = base + arrivals
    say('new', given[user])
    taken[#taken + 1] = reply[#reply]
    taken[#taken + 1] = user
  end
end
if #taken > 0 then
  redis.call('HSET', line, 'n', string.format('%.0f', arrivals))
  if ahead == 0 then
    redis.call('HSET', line, 'idle_ms', now_ms)
  end
  redis.call('ZADD', wait, unpack(taken))
end
return reply
