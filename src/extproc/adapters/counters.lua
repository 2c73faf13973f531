-- All limits of one exchange. `take`: every counter is checked first, then all are taken from, or none. `settle`: what was
-- used beyond what was taken is taken too, room or not; what was not used is returned. A script is atomic.
--
-- KEYS     one counter for each demand, all of one slot
-- ARGV     `take` or `settle`; the time (0: this server's clock, which is what every caller says but tests); then for each
--          demand: algorithm, window, cost, limit; for a bucket also step and slack (two numbers each, see Bucket);
--          for `settle` the cost is the difference, and then follow `more` or `less` and the two numbers of the receipt
-- returns  for `take`: 1 or 0, then for each demand: wait, two numbers that its level is made of, two of the receipt
--
-- Time is whole microseconds. A number of Lua is a double, exact up to 2^53: time stays below it until the year 2255, and
-- nothing here multiplies a time by a limit. A clock that was set back counts as no time for as long as one window; beyond
-- that, what was taken counts as taken now, so that no counter waits for a clock that was wrong.

local EXACT = 9007199254740992
local NEVER = -1

local given = tonumber(ARGV[2])
local linger = 1  -- milliseconds that a key outlives what it counts
local start = given
if given == 0 then
  local time = redis.call('TIME')
  start = time[1] * 1000000 + time[2]
else
  linger = 60000  -- the time of a test may pass more slowly than the one that keys age by
end

local function ttl(micros)
  return math.ceil(math.max(0, micros) / 1000) + linger
end

-- Sliding window: a list. First its head (used, time of the last take), then the takes (time, amount), oldest first. What is
-- taken at one instant is one entry, whatever it amounts to. Where there are MOST_ENTRIES, what is taken within one tick of
-- window / MOST_ENTRIES is one entry too, at the end of the tick: it counts for so much longer, and there are never more than
-- 2 * MOST_ENTRIES + 1 of them.
local Sliding = {}
local HEAD, TAKE = '>ddB', '>dd'  -- of different lengths: no take is ever mistaken for the head
local MOST_ENTRIES = 100000

function Sliding.open(c)
  local found = redis.call('LRANGE', c.key, 0, 1)
  c.used, c.last, c.held = 0, 0, false
  if #found < 2 then return end
  c.used, c.last = struct.unpack(HEAD, found[1])
  c.held = true
  if c.last > c.now + c.window then
    Sliding.gather(c)
  elseif c.last <= c.now - c.window then
    redis.call('UNLINK', c.key)
    c.used, c.held = 0, false
  elseif struct.unpack(TAKE, found[2]) <= c.now - c.window then
    Sliding.forget(c)
  end
end

-- Calls `see` with each take, oldest first, until it says so.
function Sliding.walk(c, see)
  local from, size = 1, 4
  repeat
    local takes = redis.call('LRANGE', c.key, from, from + size - 1)
    for _, take in ipairs(takes) do
      local time, amount = struct.unpack(TAKE, take)
      if see(time, amount) then return end
    end
    from, size = from + size, math.min(size * 4, 512)
  until #takes == 0
end

function Sliding.forget(c)
  local aged, count = c.now - c.window, 0
  Sliding.walk(c, function(time, amount)
    if time > aged then return true end
    c.used = c.used - amount
    count = count + 1
  end)
  redis.call('LTRIM', c.key, count, -1)  -- the last of the aged ones stays, and becomes the head
  Sliding.head(c)
end

function Sliding.gather(c)
  redis.call('UNLINK', c.key)
  c.last = c.now
  redis.call('RPUSH', c.key, struct.pack(HEAD, c.used, c.now, 0), struct.pack(TAKE, c.now, c.used))
  redis.call('PEXPIRE', c.key, ttl(c.window))
end

function Sliding.head(c)
  redis.call('LSET', c.key, 0, struct.pack(HEAD, c.used, c.last, 0))
end

-- Where so many takes are in the way (the limit was lowered by much, the counter is overdrawn, or one asks for as much as
-- thousands took), not all are looked at: the wait is at least so long.
local MOST_SEEN = 2048

function Sliding.wait(c)
  if c.cost > c.limit then return NEVER end
  local missing, free, seen = c.used + c.cost - c.limit, c.now, 0
  if missing <= 0 then return 0 end
  Sliding.walk(c, function(time, amount)
    missing, free, seen = missing - amount, time + c.window, seen + 1
    return missing <= 0 or seen == MOST_SEEN
  end)
  return free - c.now
end

function Sliding.at(c, index)
  return struct.unpack(TAKE, redis.call('LINDEX', c.key, index))
end

function Sliding.take(c)
  if c.cost == 0 then return c.now, 0 end
  c.used = c.used + c.cost
  if not c.held then
    c.last, c.held = c.now, true
    redis.call('RPUSH', c.key, struct.pack(HEAD, c.used, c.last, 0), struct.pack(TAKE, c.last, c.cost))
  else
    Sliding.add(c)
    Sliding.head(c)
  end
  redis.call('PEXPIRE', c.key, ttl(c.last + c.window - c.now))
  return c.last, 0
end

function Sliding.add(c)
  if c.last >= c.now then
    local _, amount = Sliding.at(c, -1)
    redis.call('LSET', c.key, -1, struct.pack(TAKE, c.last, amount + c.cost))
    return
  end
  c.last = c.now
  if redis.call('RPUSH', c.key, struct.pack(TAKE, c.last, c.cost)) > MOST_ENTRIES + 1 then
    local tick = math.ceil(c.window / MOST_ENTRIES)
    c.last = c.now + math.fmod(tick - math.fmod(c.now, tick), tick)
    redis.call('LSET', c.key, -1, struct.pack(TAKE, c.last, c.cost))
  end
end

function Sliding.level(c)
  return math.max(0, c.limit - c.used), c.held and c.last + c.window - c.now or 0
end

-- Where the entry of that time is, what it amounts to, and how many there are; nothing, if it has aged or is lost. Most are
-- settled soon, so it is looked for in steps from the end, each twice as long, and then between the last two.
function Sliding.find(c, time)
  local count = redis.call('LLEN', c.key) - 1
  local low, high, step = count, count, 1
  while low > 1 and Sliding.at(c, low) > time do
    low, high, step = math.max(1, low - step), low - 1, step * 2
  end
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local found, amount = Sliding.at(c, middle)
    if found == time then return middle, amount, count end
    if found < time then low = middle + 1 else high = middle - 1 end
  end
end

-- Looks at every entry from there to the nearer end, so it is done near an end only: far from it, one of nothing stays until it
-- has aged, or is the last.
local FAR = 2048

function Sliding.remove(c, index, count)
  redis.call('LSET', c.key, index, '')
  redis.call('LREM', c.key, index * 2 > count and -1 or 1, '')
  local last, amount = Sliding.at(c, -1)
  while amount == 0 do
    redis.call('RPOP', c.key)
    last, amount = Sliding.at(c, -1)
  end
  c.last = last
end

function Sliding.put_back(c, time)
  if not c.held then return end
  local index, amount, count = Sliding.find(c, time)
  if not index then return end
  local back = math.min(amount, c.cost)
  c.used = c.used - back
  if c.used == 0 then
    redis.call('UNLINK', c.key)
    c.held = false
    return
  end
  if back < amount or math.min(index, count - index) > FAR then
    redis.call('LSET', c.key, index, struct.pack(TAKE, time, amount - back))
  else
    Sliding.remove(c, index, count)
  end
  Sliding.head(c)
end

-- Fixed window: a string (start of the window, used). Windows begin with the clock: those of a minute with the minute.
local Fixed = {}
local WINDOW = '>dd'

function Fixed.open(c)
  local found = redis.call('GET', c.key)
  c.start, c.used = c.now - math.fmod(c.now, c.window), 0
  if not found then return end
  local begun, used = struct.unpack(WINDOW, found)
  if begun > c.start + c.window then
    c.used = used
    Fixed.store(c)
  elseif begun > c.start then
    c.start, c.used, c.now = begun, used, begun
  elseif begun == c.start then
    c.used = used
  end
end

function Fixed.wait(c)
  if c.cost > c.limit then return NEVER end
  return c.used + c.cost <= c.limit and 0 or c.start + c.window - c.now
end

function Fixed.store(c)
  redis.call('SET', c.key, struct.pack(WINDOW, c.start, c.used), 'PX', ttl(c.start + c.window - c.now))
end

function Fixed.take(c)
  c.used = c.used + c.cost
  Fixed.store(c)
  return c.start, 0
end

function Fixed.level(c)
  return math.max(0, c.limit - c.used), c.used > 0 and c.start + c.window - c.now or 0
end

function Fixed.put_back(c, start)
  if c.used == 0 or start ~= c.start then return end
  c.used = math.max(0, c.used - c.cost)
  Fixed.store(c)
end

-- Token bucket (GCRA, ITU-T I.371): a string (when the bucket is full again, as whole microseconds `q` and a rest `r` of
-- 1/limit microseconds; limit; time of the last take; all that was ever taken; time of birth). `step` is what this demand
-- adds to that time, `slack` how far ahead it may be before this demand waits; both are divided by the caller, who has
-- whole numbers of any size.
local Bucket = {}
local LEVEL = '>dddddd'
local LONGEST = EXACT / 2  -- what is overdrawn by more than 142 years is repaid in so many: beyond, nothing would be exact

-- factor * number / divisor as whole and rest. Rounded up, which is the safe side, where a product is past 2^53.
local function scaled(factor, number, divisor)
  local rest = math.fmod(factor, divisor)
  local whole = (factor - rest) / divisor * number
  local product = rest * number
  if product >= EXACT then return whole + math.ceil(product / divisor) + 1, 0 end
  local left = math.fmod(product, divisor)
  return whole + (product - left) / divisor, left
end

local function less(q, r, other_q, other_r)
  return q < other_q or (q == other_q and r < other_r)
end

local function carried(q, r, limit)
  local rest = math.fmod(r, limit)
  return q + (r - rest) / limit, rest
end

function Bucket.open(c)
  c.q, c.r, c.last, c.taken, c.born = 0, 0, c.now, 0, c.now
  local found = redis.call('GET', c.key)
  if not found then return end
  local limit, changed
  c.q, c.r, limit, c.last, c.taken, c.born = struct.unpack(LEVEL, found)
  if c.last > c.now + c.window then
    c.q, c.last = c.q - (c.last - c.now), c.now
    changed = true
  elseif c.last > c.now then
    c.now = c.last
  end
  if limit ~= c.limit and less(c.now, 0, c.q, c.r) then  -- what is missing stays missing; the scale of time is another
    local q, r = scaled(c.q - c.now, limit, c.limit)
    q, r = carried(q, r + c.r, c.limit)
    c.q, c.r, changed = c.now + q, r, true
  end
  if changed then Bucket.store(c) end
end

-- What is missing from a full bucket, as time.
function Bucket.debt(c)
  if less(c.q, c.r, c.now, 0) then return 0, 0 end
  return c.q - c.now, c.r
end

function Bucket.wait(c)
  if c.slack_q < 0 then return NEVER end
  local q, r = Bucket.debt(c)
  if not less(c.slack_q, c.slack_r, q, r) then return 0 end
  return q - c.slack_q + (r > c.slack_r and 1 or 0)
end

function Bucket.store(c)
  local state = struct.pack(LEVEL, c.q, c.r, c.limit, c.last, c.taken, c.born)
  redis.call('SET', c.key, state, 'PX', ttl(c.q - c.now + 1))
end

function Bucket.take(c)
  local q, r = Bucket.debt(c)
  c.q, c.r = carried(c.now + q + c.step_q, r + c.step_r, c.limit)
  if c.q - c.now > LONGEST then c.q, c.r = c.now + LONGEST, 0 end
  c.taken, c.last = c.taken + c.cost, c.now
  Bucket.store(c)
  return c.taken, c.born
end

Bucket.level = Bucket.debt

-- Had that take been smaller, a bucket that was nearly full would have overflowed and lost what now seems to be left: so it
-- is not filled further than the later takes allow.
function Bucket.put_back(c, taken, born)
  if born ~= c.born or c.taken < taken then return end
  local q, r = carried(c.q - c.step_q - 1, c.r - c.step_r + c.limit, c.limit)
  if c.taken > taken then
    local late_q, late_r = scaled(c.taken - taken, c.window, c.limit)
    late_q = late_q + c.last
    if less(c.q, c.r, late_q, late_r) then late_q, late_r = c.q, c.r end
    if less(q, r, late_q, late_r) then q, r = late_q, late_r end
  end
  c.q, c.r = q, r
  Bucket.store(c)
end

local ALGORITHMS = {s = Sliding, f = Fixed, b = Bucket}
local at = 3

local function argument()
  at = at + 1
  return tonumber(ARGV[at - 1])
end

local function counter(key)
  local c = {key = key, now = start, algorithm = ALGORITHMS[ARGV[at]]}
  at = at + 1
  c.window, c.cost, c.limit = argument(), argument(), argument()
  if c.algorithm == Bucket then
    c.step_q, c.step_r, c.slack_q, c.slack_r = argument(), argument(), argument(), argument()
  end
  c.algorithm.open(c)
  return c
end

local function settle()
  for _, key in ipairs(KEYS) do
    local c = counter(key)
    local more = ARGV[at] == 'more'
    at = at + 1
    local first, second = argument(), argument()
    if more then c.algorithm.take(c) else c.algorithm.put_back(c, first, second) end
  end
  return {}
end

local function take()
  local counters, answer, admitted = {}, {1}, true
  for index, key in ipairs(KEYS) do
    local c = counter(key)
    counters[index], c.wait = c, c.algorithm.wait(c)
    admitted = admitted and c.wait == 0
  end
  if not admitted then answer[1] = 0 end
  for _, c in ipairs(counters) do
    local first, second = 0, 0
    if admitted then first, second = c.algorithm.take(c) end
    local one, other = c.algorithm.level(c)
    for _, number in ipairs({c.wait, one, other, first, second}) do answer[#answer + 1] = number end
  end
  return answer
end

if ARGV[1] == 'take' then return take() end
return settle()
