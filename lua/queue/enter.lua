#!lua
--[[ enter: give people back the places that their tokens say. SQL knows of no turn of theirs.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    idle_ms: until when nobody waited
      3 wait        zset    user -> number
      4 pend        zset    user -> number
      5 turns       hash    user -> number
ARGV  1 epoch
      2 now_ms
      3.. user, number, instead, …   (enter_max triples; instead: the number that this one replaces though it is
          lower, 0 for none, - for none but a higher one)
Reply {"ENTERED", standing, number, …}, one of waiting, active, other, instead for each: other is the number that he
      has, instead the one that gave way | {"STALE"}
Cost  O(people · log waiting)
Why   The lower number is the earlier one, and stays. A ghost that enters after its turn is dropped when it comes up: it
      has a row. Of a draw the caller decides which number came first: luck does not tell.
]]
local generation, line, wait, pend, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, now = ARGV[1], ARGV[2]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
if redis.call('ZCARD', wait) == 0 then
  redis.call('HSET', line, 'idle_ms', now)
end
local reply = { 'ENTERED' }
for i = 3, #ARGV, 3 do
  local user, number, instead = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local standing, stored = 'waiting', redis.call('HGET', turns, user)
  if stored then
    standing = 'active'
  else
    stored = redis.call('ZSCORE', pend, user)
    if not stored then
      stored = redis.call('ZSCORE', wait, user)
      local replaces = instead == '-' and stored and tonumber(number) < tonumber(stored)
      if not stored or replaces or tonumber(stored) == tonumber(instead) then
        redis.call('ZADD', wait, number, user)
        standing = stored and 'instead' or standing
        stored = stored or number
      end
    end
  end
  if standing == 'waiting' and tonumber(stored) ~= tonumber(number) then standing = 'other' end
  reply[#reply + 1] = standing
  reply[#reply + 1] = string.format('%.0f', tonumber(stored))
end
return reply
