// What must be atomic in Redis, as Lua. Times come from the caller's clock port, so that tests can turn them; numbers
// travel as text, because Redis cuts fractions off the numbers that a script returns.
import { createHash } from 'node:crypto';

export interface Script {
  readonly lua: string;
  readonly sha1: string;
}

function script(lua: string): Script {
  return { lua, sha1: createHash('sha1').update(lua).digest('hex') };
}

/** Key: the lease. Arguments: owner, ttl, now, first possible epoch. Returns the epoch, or nothing while another owner holds it. */
export const acquireLease = script(`
local lease = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'expires')
local now, ttl = tonumber(ARGV[3]), tonumber(ARGV[2])
local expires = string.format('%.17g', now + ttl)
if lease[3] and tonumber(lease[3]) > now then
  if lease[1] ~= ARGV[1] then return false end
  redis.call('HSET', KEYS[1], 'expires', expires)
  return lease[2]
end
-- The same as nextEpoch in limits.ts: higher than the last one, even when that was lost with the store's data.
local epoch = string.format('%d', math.max((tonumber(lease[2] or '0') or 0) + 1, tonumber(ARGV[4])))
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', epoch, 'expires', expires)
return epoch
`);

/** Key: the lease. Arguments: owner, epoch, now, new expiry (0 releases; the epoch stays). Returns 1, or 0: no longer held. */
export const keepLease = script(`
local lease = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'expires')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] or tonumber(lease[3]) <= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'expires', ARGV[4])
return 1
`);

/** Key: the snapshot. Arguments: epoch, value. Returns 1, or 0: a later epoch has written. */
export const saveSnapshot = script(`
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'value', ARGV[2])
return 1
`);

/** Keys: the log of each value. Arguments: entries kept, ttl, the values. */
export const appendLogs = script(`
local kept = -tonumber(ARGV[1])
for index, key in ipairs(KEYS) do
  redis.call('RPUSH', key, ARGV[index + 2])
  redis.call('LTRIM', key, kept, -1)
  redis.call('PEXPIRE', key, ARGV[2])
end
return 1
`);

/**
 * The arithmetic of ledger.ts. Keys: state (hash), open reservations (sorted by expiry), their amounts (hash), settled
 * ids (sorted by time). Arguments: now, how long settled ids are remembered, and for each operation, in order: its name, the three
 * limits, request id, tokens, cost, ttl. Returns for each a line of outcome, retry-after, and the ledger's state.
 */
export const ledger = script(`
local now, memory = tonumber(ARGV[1]), tonumber(ARGV[2])

local saved = redis.call('HMGET', KEYS[1], 'rl', 'ra', 'rp', 'tl', 'ta', 'tp', 'spent', 'reserved')
local function number(text) if text then return tonumber(text) end end
local function bucket(level, at, per) if level then return { level = number(level), at = number(at), per = number(per) } end end
local buckets = { r = bucket(saved[1], saved[2], saved[3]), t = bucket(saved[4], saved[5], saved[6]) }
local spent, reserved = number(saved[7]) or 0, number(saved[8]) or 0

local function text(value) return string.format('%.17g', value) end

local function refill(from)
  local atNow = math.max(now, from.at)
  return { level = math.min(from.per, from.level + (atNow - from.at) * from.per / 60000), at = atNow, per = from.per }
end

-- The bucket at now under a limit that may have changed; a new one is full.
local function under(limit, from)
  if not from then return { level = limit, at = now, per = limit } end
  local full = refill(from)
  return { level = math.min(limit, full.level), at = full.at, per = limit }
end

local function addTokens(amount)
  if not buckets.t then return end
  local full = refill(buckets.t)
  buckets.t = { level = math.min(full.per, full.level + amount), at = full.at, per = full.per }
end

local function untilLevel(from, wanted) return math.max(0, math.ceil((wanted - from.level) * 60000 / from.per)) end

-- Closes an open reservation and returns the tokens it held; 0 when there is none.
local function close(request)
  local amounts = redis.call('HGET', KEYS[3], request)
  if not amounts then return 0 end
  local heldTokens, heldCost = string.match(amounts, '^(%S+) (%S+)$')
  redis.call('HDEL', KEYS[3], request)
  redis.call('ZREM', KEYS[2], request)
  reserved = reserved - tonumber(heldCost)
  return tonumber(heldTokens)
end

-- Leftovers of adding and subtracting fractions do not add up over the years.
local function tidy() if redis.call('ZCARD', KEYS[2]) == 0 then reserved = 0 end end

-- The outcome, and when to ask again.
local function reserve(perMinute, budget, id, tokens, cost, ttl)
  if redis.call('ZSCORE', KEYS[2], id) or redis.call('ZSCORE', KEYS[4], id) then return 'ok', 0 end
  local requests = perMinute.r > 0 and under(perMinute.r, buckets.r) or nil
  local allowance = perMinute.t > 0 and under(perMinute.t, buckets.t) or nil
  local needed = math.min(tokens, perMinute.t)
  if requests and requests.level < 1 then return 'requests', untilLevel(requests, 1) end
  if allowance and allowance.level < needed then return 'tokens', untilLevel(allowance, needed) end
  if budget > 0 and spent + reserved + cost > budget then return 'budget', 0 end
  -- Without a limit there is no bucket, and a later limit starts full.
  if requests then requests.level = requests.level - 1 end
  if allowance then allowance.level = allowance.level - tokens end
  buckets.r, buckets.t = requests, allowance
  reserved = reserved + cost
  redis.call('ZADD', KEYS[2], text(now + ttl), id)
  redis.call('HSET', KEYS[3], id, text(allowance and tokens or 0) .. ' ' .. text(cost))
  return 'ok', 0
end

local function settle(id, tokens, cost)
  if redis.call('ZSCORE', KEYS[4], id) then return end
  addTokens(close(id) - tokens)
  spent = spent + cost
  redis.call('ZADD', KEYS[4], text(now), id)
  redis.call('PEXPIRE', KEYS[4], memory * 2)
  tidy()
end

local function line(outcome, retryAfter, perMinute)
  local parts = { outcome, text(retryAfter) }
  for _, which in ipairs({ 'r', 't' }) do
    local remaining, reset = 0, 0
    if perMinute[which] > 0 then
      local shown = under(perMinute[which], buckets[which])
      remaining, reset = math.max(0, math.floor(shown.level)), untilLevel(shown, perMinute[which])
    end
    parts[#parts + 1] = text(remaining)
    parts[#parts + 1] = text(reset)
  end
  parts[#parts + 1] = text(spent)
  parts[#parts + 1] = text(reserved)
  return table.concat(parts, ' ')
end

repeat
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, 500)
  for _, request in ipairs(due) do addTokens(close(request)) end
until #due == 0
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', text(now - memory))
tidy()

local answers = {}
for at = 3, #ARGV, 8 do
  local op, perMinute = ARGV[at], { r = tonumber(ARGV[at + 1]), t = tonumber(ARGV[at + 2]) }
  local id, tokens, cost = ARGV[at + 4], tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local outcome, retryAfter = 'ok', 0
  if op == 'reserve' then outcome, retryAfter = reserve(perMinute, tonumber(ARGV[at + 3]), id, tokens, cost, tonumber(ARGV[at + 7]))
  elseif op == 'settle' then settle(id, tokens, cost)
  elseif op == 'giveBack' then
    addTokens(close(id))
    tidy()
  end
  answers[#answers + 1] = line(outcome, retryAfter, perMinute)
end

redis.call('HSET', KEYS[1], 'spent', text(spent), 'reserved', text(reserved))
for _, which in ipairs({ 'r', 't' }) do
  local each = buckets[which]
  if each then redis.call('HSET', KEYS[1], which .. 'l', text(each.level), which .. 'a', text(each.at), which .. 'p', text(each.per))
  else redis.call('HDEL', KEYS[1], which .. 'l', which .. 'a', which .. 'p') end
end
return answers
`);
