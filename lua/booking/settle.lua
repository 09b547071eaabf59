#!lua flags=allow-oom
--[[ settle: write what SQL says of seats: sold, or held by whom until when.

KEYS  1 generation  string  the epoch whose state this is
      2 seats       hash    seat -> "user|until_ms" or "sold"
ARGV  1 epoch
      2.. seat, mark, …   (1 to seats_per_booking_max pairs)
Reply {"SETTLED"} | {"STALE"}
Cost  O(seats)
Why   Sold is for ever: an older word of SQL that arrives late never replaces it.
]]
local generation, seats = KEYS[1], KEYS[2]
local epoch = ARGV[1]

if redis.call('GET', generation) ~= epoch then
  return { 'STALE' }
end
for i = 2, #ARGV, 2 do
  if redis.call('HGET', seats, ARGV[i]) ~= 'sold' then
    redis.call('HSET', seats, ARGV[i], ARGV[i + 1])
  end
end
return { 'SETTLED' }
