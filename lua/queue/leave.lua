#!lua flags=allow-oom
--[[ leave: take a number out of the line and out of its turn. SQL has closed it already.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    pend_paid: the last number of the batch that cost credit; returned: credit;
                          drawing: 1 while a draw is on
      3 wait        zset    user -> number
      4 pend        zset    user -> number
      5 act         zset    user -> look_at_ms
      6 turns       hash    user -> number
      7 left        hash    user -> the number with which he left the draw
ARGV  1 epoch
      2 user
      3 number
Reply {"LEFT"} | {"ABSENT"} | {"STALE"}
Cost  O(log waiting)
Why   The number is compared before anything is removed: the same person may have joined again meanwhile. Whoever leaves
      a draw is remembered until it opens: he is not drawn twice.
]]
local generation, line, wait, pend, act, turns, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local epoch, user, number = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
local removed = 0
if tonumber(redis.call('ZSCORE', wait, user) or nil) == number then
  removed = removed + redis.call('ZREM', wait, user)
  if redis.call('HGET', line, 'drawing') == '1' then redis.call('HSET', left, user, string.format('%.0f', number)) end
end
if tonumber(redis.call('ZSCORE', pend, user) or nil) == number then
  removed = removed + redis.call('ZREM', pend, user)
  -- Its batch will not find it any more, so its credit comes back here.
  local paid = tonumber(redis.call('HGET', line, 'pend_paid') or nil) or 0
  if number <= paid then redis.call('HINCRBY', line, 'returned', 1) end
end
if tonumber(redis.call('HGET', turns, user) or nil) == number then
  removed = removed + redis.call('HDEL', turns, user)
  redis.call('ZREM', act, user)
end
if removed == 0 then
  return { 'ABSENT' }
end
return { 'LEFT' }
