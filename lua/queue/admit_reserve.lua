#!lua
--[[ admit_reserve: take the next batch out of the line, as many as rate, cap and operator allow; name turns to look at.

KEYS  1 generation  string  the epoch whose state this is
      2 line        hash    tokens, last_ms, idle_ms, at_ms, owed, serving, served (before this batch),
                          pend_at, pend_paid, version, manual_used, n (arrivals), tuned_n (arrivals when the policy last
                          changed), returned (credit), drawing (1: nobody is taken before the draw is opened),
                          pause_until (0: there is no pause after a rebuild)
      3 wait        zset    user -> number
      4 pend        zset    user -> number: the one batch on its way into SQL
      5 act         zset    user -> look_at_ms
      6 turns       hash    user -> number
ARGV  1 epoch
      2 now_ms
      3 version       of the policy below
      4 rate          admissions a second
      5 burst         the bucket's size
      6 cap           turns at once
      7 batch_max
      8 manual_total  turns ever granted by hand
      9 flow          rate | all (rate not applied) | none
     10 retry_ms      age at which an unanswered batch is handed out again
Reply {"BATCH", at_ms, arrivals, tuned, paid, n, user, number, …, looks, user, number, …, full}
      | {"OLD_POLICY"} | {"STALE"}
Cost  O((batch_max + looks) · log waiting)
Why   Earning, spending and taking must be one step, or two instances spend the same credit. One batch is out at a
      time: that is what makes the order strict. One that is handed out again after more than a second has the instant
      of that: a call may be carried out long after it was given up, and the cap is kept at the instants that rows tell.
      A bucket fills to its brim while nobody waits; while somebody does, a late tick of up to a second loses nothing.
]]
local generation, line, wait, pend, act, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local epoch, now, version, rate = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local burst, cap, batch_max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local manual_total, flow, retry_ms = tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10])

if redis.call('GET', generation) ~= epoch then return { 'STALE' } end
local function whole(n) return string.format('%.0f', tonumber(n)) end
local value = redis.call('HMGET', line, 'version', 'tokens', 'last_ms', 'idle_ms', 'at_ms', 'owed', 'pend_at',
  'pend_paid', 'manual_used', 'n', 'tuned_n', 'returned', 'drawing', 'pause_until', 'serving')
for i = 1, 15 do value[i] = tonumber(value[i] or nil) or 0 end
local seen, tokens, last, idle, at, owed, pend_at, paid, manual_used, arrivals, tuned = unpack(value)
local returned, drawing, pause, serving = unpack(value, 12)
if version < seen then return { 'OLD_POLICY' } end
if version > seen then tuned = seen > 0 and arrivals or 0 end
if version > seen then redis.call('HSET', line, 'version', version, 'tuned_n', tuned) end

local looks = redis.call('ZRANGEBYSCORE', act, '-inf', now, 'LIMIT', 0, batch_max)
local again, full = {}, 0
for i = 1, #looks do again[2 * i - 1], again[2 * i] = whole(now + 2000), looks[i] end
if #looks > 0 then redis.call('ZADD', act, unpack(again)) end
if redis.call('ZCARD', pend) == 0 then
  if last == 0 then last, tokens = now, burst end
  tokens = math.min(burst + rate, tokens + returned)
  if flow == 'none' or pause > 0 or last > now + 2000 then last = now end
  if idle >= last and idle <= now then tokens, last = math.min(burst, tokens + rate * (idle - last) / 1000), idle end
  local earned = rate * math.max(0, now - last) / 1000
  local extra = math.min(owed, earned)
  tokens = math.min(burst + rate, tokens + earned + extra)
  local waiting, free = redis.call('ZCARD', wait), math.max(0, cap - redis.call('ZCARD', act))
  if drawing == 1 or pause > 0 then free = 0 end
  local credit = flow == 'all' and batch_max or flow == 'rate' and math.floor(tokens + 1e-6) or 0
  local n = math.min(batch_max, waiting, free, credit + manual_total - manual_used)
  local by_rate = math.min(n, credit)
  tokens = math.max(0, tokens - by_rate)
  if n == batch_max and waiting > n then full = 1 else tokens = math.min(tokens, burst) end
  manual_used = manual_used + n - by_rate
  if n > 0 then
    local popped, moved = redis.call('ZPOPMIN', wait, n), {}
    for i = 1, #popped, 2 do moved[i], moved[i + 1] = popped[i + 1], popped[i] end
    redis.call('ZADD', pend, unpack(moved))
    at, pend_at, paid = math.max(at, now), now, flow == 'rate' and tonumber(popped[2 * by_rate]) or 0
    local last_taken = math.max(serving, tonumber(popped[#popped]))
    redis.call('HSET', line, 'served', whole(serving), 'serving', whole(last_taken))
  end
  if waiting > 0 then
    redis.call('HSET', line, 'returned', 0, 'tokens', string.format('%.9f', tokens), 'manual_used', manual_used,
      'last_ms', whole(math.max(last, now)), 'owed', string.format('%.9f', owed - extra), 'at_ms', whole(at),
      'pend_at', whole(pend_at), 'pend_paid', whole(paid))
  end
elseif now - pend_at < retry_ms then batch_max = 0
else at = now - at > 1000 and now or at
  redis.call('HSET', line, 'pend_at', whole(now), 'at_ms', whole(at), 'last_ms', whole(math.max(last, at))) end
local batch = batch_max > 0 and redis.call('ZRANGE', pend, 0, -1, 'WITHSCORES') or {}
local reply = { 'BATCH', whole(at), arrivals, tuned, whole(paid), #batch / 2 }
for i = 1, #batch do reply[#reply + 1] = whole(batch[i]) end
reply[#reply + 1] = #looks
local numbers = #looks > 0 and redis.call('HMGET', turns, unpack(looks)) or {}
for i = 1, #looks do reply[#reply + 1], reply[#reply + 2] = looks[i], numbers[i] or '0' end
reply[#reply + 1] = full
return reply
