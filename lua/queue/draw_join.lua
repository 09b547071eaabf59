#!lua
--[[ draw_join: give each person the number he has already, or the next one of the draw.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    drawing: 1 while the draw is on; drawn: numbers of it given so far; n: arrivals behind it;
                          idle_ms: until when nobody waited
      3 wait        zset    user -> number
      4 left        hash    user -> the number with which he left the draw
ARGV  1 epoch
      2 base         the number before the epoch's first arrival
      3 waiting_max
      4 now_ms
      5 known        numbers of the draw that were given when the numbers below were computed
      6 people       how many of: user   (1 to joins_max)
      7.. the users, in the order of their coming; then the next numbers of the draw, as many at least
Reply {"JOINED", standing, number, …}, one of new, waiting, full for each user | {"BEHIND", drawn} | {"OPENED"}
      | {"UNANNOUNCED"} | {"STALE"}
Cost  O(users · log waiting)
Why   As in `join`. What the n-th is worth only the caller can compute; whoever left is not drawn a second time.
]]
local generation, line, wait, left = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, base, waiting_max, now_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local known, people = tonumber(ARGV[5]), tonumber(ARGV[6])

if redis.call('GET', generation) ~= epoch then return { 'STALE' } end
local state = redis.call('HMGET', line, 'drawing', 'drawn', 'n')
if not state[1] then return { 'UNANNOUNCED' } end
if state[1] ~= '1' then return { 'OPENED' } end
local drawn, arrivals = tonumber(state[2] or nil) or 0, tonumber(state[3] or nil) or 0
local users, numbers = {}, {}
for i = 7, #ARGV do
  if #users < people then users[#users + 1] = ARGV[i] else numbers[#numbers + 1] = ARGV[i] end
end
if drawn < known or drawn + people > known + #numbers then
  return { 'BEHIND', string.format('%.0f', drawn) }
end
local waiting = redis.call('ZMSCORE', wait, unpack(users))
local strayed = redis.call('HMGET', left, unpack(users))
local ahead = redis.call('ZCARD', wait)
local reply, given, taken = { 'JOINED' }, {}, {}
local function say(standing, number)
  reply[#reply + 1] = standing
  reply[#reply + 1] = string.format('%.0f', tonumber(number))
end
local function give(user, number)
  say('new', number)
  given[user] = number
  taken[#taken + 1] = reply[#reply]
  taken[#taken + 1] = user
end
for i, user in ipairs(users) do
  if waiting[i] or given[user] then
    say('waiting', waiting[i] or given[user])
  elseif ahead + #taken / 2 >= waiting_max then
    say('full', 0)
  elseif strayed[i] then
    arrivals = arrivals + 1
    give(user, base + arrivals)
  else
    drawn = drawn + 1
    give(user, numbers[drawn - known])
  end
end
if #taken > 0 then
  redis.call('HSET', line, 'n', string.format('%.0f', arrivals), 'drawn', string.format('%.0f', drawn))
  if ahead == 0 then redis.call('HSET', line, 'idle_ms', now_ms) end
  redis.call('ZADD', wait, unpack(taken))
end
return reply
