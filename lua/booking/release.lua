#!lua flags=allow-oom
--[[ release: take one buyer's marks off seats that he gave back or did not get.

KEYS  1 generation  string  the epoch whose state this is
      2 seats       hash    seat -> "user|until_ms" or "sold"
ARGV  1 epoch
      2 user
      3.. seat ids   (1 to seats_per_booking_max)
Reply {"RELEASED"} | {"STALE"}
Cost  O(seats)
Why   The owner is compared before the mark goes: the seat may be somebody else's by now, or sold.
]]
local generation, seats = KEYS[1], KEYS[2]
local epoch, user = ARGV[1], ARGV[2]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
for i = 3, #ARGV do
  local mark = redis.call('HGET', seats, ARGV[i])
  if mark and string.match(mark, '^(%d+)|') == user then
    redis.call('HDEL', seats, ARGV[i])
  end
end
return { 'RELEASED' }
