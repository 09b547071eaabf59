#!lua flags=allow-oom
--[[ admit_commit: make the line agree with what SQL has written.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    returned (credit), owed, pend_paid (the last number of the batch that cost credit)
      3 pend        zset    user -> number
      4 act         zset    user -> look_at_ms
      5 turns       hash    user -> number
ARGV  1 epoch
      2 opened    how many of: user, number, look_at_ms   (they have a turn)
      3 dropped   how many of: user, number               (they have none: left, or finished before)
      4 gone      how many of: user, number               (their turn is over)
      5 looked    how many of: user, number, look_at_ms   (their turn goes on)
      6 unclaimed credit to give back for turns that nobody claimed
      7 owed_max
      8.. the lists, in this order   (batch_max each)
Reply {"DONE"} | {"STALE"}
Cost  O(entries · log active)
Why   Each entry is applied only where the stored number is equal, so a second or a late commit changes nothing.
]]
local generation, line, pend, act, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, opened, dropped, gone = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local looked, unclaimed, owed_max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

if redis.call('GET', generation) ~= epoch then return { 'STALE' } end
local paid = tonumber(redis.call('HGET', line, 'pend_paid') or nil) or 0
local at = 7
local function next_argument()
  at = at + 1
  return ARGV[at]
end
local function stands(key_read, key, user, number)
  return tonumber(redis.call(key_read, key, user) or nil) == tonumber(number)
end
for _ = 1, opened do
  local user, number, look_at = next_argument(), next_argument(), next_argument()
  if stands('ZSCORE', pend, user, number) then
    redis.call('ZREM', pend, user)
    redis.call('ZADD', act, look_at, user)
    redis.call('HSET', turns, user, number)
  end
end
for _ = 1, dropped do
  local user, number = next_argument(), next_argument()
  if stands('ZSCORE', pend, user, number) then
    redis.call('ZREM', pend, user)
    if tonumber(number) <= paid then redis.call('HINCRBY', line, 'returned', 1) end
  end
end
local ended = 0
for _ = 1, gone do
  local user, number = next_argument(), next_argument()
  if stands('HGET', turns, user, number) then
    redis.call('ZREM', act, user)
    ended = ended + redis.call('HDEL', turns, user)
  end
end
for _ = 1, looked do
  local user, number, look_at = next_argument(), next_argument(), next_argument()
  if stands('HGET', turns, user, number) then redis.call('ZADD', act, look_at, user) end
end
if ended > 0 and unclaimed > 0 then
  local owed = tonumber(redis.call('HGET', line, 'owed') or nil) or 0
  redis.call('HSET', line, 'owed', string.format('%.9f', math.min(owed + unclaimed, owed_max)))
end
return { 'DONE' }
