#!lua
--[[ hold: mark every requested seat for one buyer, or none.

KEYS  1 generation  string  the epoch whose state this is
      2 seats       hash    seat -> "user|until_ms" or "sold"
      3 turns       hash    user -> number
ARGV  1 epoch
      2 now_ms
      3 user
      4 number
      5 until_ms
      6.. seat ids   (1 to seats_per_booking_max)
Reply {"HELD"} | {"TAKEN", seat, mark, …} | {"NOT_ACTIVE"} | {"STALE"}
Cost  O(seats)
Why   Check and mark must be one step: two buyers look at the same seat at once. A mark of one's own is no obstacle:
      SQL knows whether it is the same booking. The marks in the way are told: an old one may be worth a question.
]]
local generation, seats, turns = KEYS[1], KEYS[2], KEYS[3]
local epoch, now, user, number, until_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
if tonumber(redis.call('HGET', turns, user) or nil) ~= number then
  return { 'NOT_ACTIVE' }
end
local taken = { 'TAKEN' }
for i = 6, #ARGV do
  local mark = redis.call('HGET', seats, ARGV[i])
  if mark then
    local owner, ends = string.match(mark, '^(%d+)|(%d+)$')
    if mark == 'sold' or (owner ~= user and tonumber(ends) > now) then
      taken[#taken + 1] = ARGV[i]
      taken[#taken + 1] = mark
    end
  end
end
if #taken > 1 then
  return taken
end
for i = 6, #ARGV do
  redis.call('HSET', seats, ARGV[i], user .. '|' .. until_ms)
end
return { 'HELD' }
