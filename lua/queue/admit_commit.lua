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
-- The next list of the arguments: users, their numbers, and what comes third.
local function list(count, width)
  local users, numbers, thirds = {}, {}, {}
  for i = 1, count do
    users[i], numbers[i], thirds[i] = ARGV[at + 1], ARGV[at + 2], width == 3 and ARGV[at + 3] or ''
    at = at + width
  end
  return users, numbers, thirds
end
-- Where in a list the stored number is equal. One call for a whole list: calls are what a script's time goes to.
local function equal(command, key, users, numbers)
  local places = {}
  local stored = #users > 0 and redis.call(command, key, unpack(users)) or {}
  for i = 1, #users do
    if tonumber(stored[i] or nil) == tonumber(numbers[i]) then places[#places + 1] = i end
  end
  return places
end
local function pick(places, first, second)
  local picked = {}
  for _, i in ipairs(places) do
    picked[#picked + 1] = first[i]
    if second then picked[#picked + 1] = second[i] end
  end
  return unpack(picked)
end
local users, numbers, look_at = list(opened, 3)
local places = equal('ZMSCORE', pend, users, numbers)
if #places > 0 then
  redis.call('ZREM', pend, pick(places, users))
  redis.call('ZADD', act, pick(places, look_at, users))
  redis.call('HSET', turns, pick(places, users, numbers))
end
users, numbers = list(dropped, 2)
places = equal('ZMSCORE', pend, users, numbers)
if #places > 0 then redis.call('ZREM', pend, pick(places, users)) end
local returned = 0
for _, i in ipairs(places) do if tonumber(numbers[i]) <= paid then returned = returned + 1 end end
if returned > 0 then redis.call('HINCRBY', line, 'returned', returned) end
users, numbers = list(gone, 2)
places = equal('HMGET', turns, users, numbers)
local ended = #places
if ended > 0 then redis.call('ZREM', act, pick(places, users)) end
if ended > 0 then redis.call('HDEL', turns, pick(places, users)) end
users, numbers, look_at = list(looked, 3)
places = equal('HMGET', turns, users, numbers)
if #places > 0 then redis.call('ZADD', act, pick(places, look_at, users)) end
if ended > 0 and unclaimed > 0 then
  local owed = tonumber(redis.call('HGET', line, 'owed') or nil) or 0
  redis.call('HSET', line, 'owed', string.format('%.9f', math.min(owed + unclaimed, owed_max)))
end
return { 'DONE' }
