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

/** Key: the log. Arguments: value, entries kept, ttl. */
export const appendLog = script(`
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`);

/**
 * The arithmetic of ledger.ts. Keys: state (hash), open reservations (sorted by expiry), their amounts (hash), settled
 * ids (sorted by time). Arguments: operation, now, the three limits, how long settled ids are remembered, and for reserve
 * and settle: request id, tokens, cost, ttl. Returns outcome, retry-after, and the ledger's state.
 */
export const ledger = script(`
local op, now = ARGV[1], tonumber(ARGV[2])
local perMinute = { r = tonumber(ARGV[3]), t = tonumber(ARGV[4]) }
local budget, memory = tonumber(ARGV[5]), tonumber(ARGV[6])
local id, tokens, cost, ttl = ARGV[7], tonumber(ARGV[8] or '0'), tonumber(ARGV[9] or '0'), tonumber(ARGV[10] or '0')

local saved = redis.call('HMGET', KEYS[1], 'rl', 'ra', 'tl', 'ta', 'spent', 'reserved')
local function number(text) if text then return tonumber(text) end end
local level = { r = number(saved[1]), t = number(saved[3]) }
local at = { r = number(saved[2]), t = number(saved[4]) }
local spent, reserved = number(saved[5]) or 0, number(saved[6]) or 0

local function text(value) return string.format('%.17g', value) end

local function giveBack(request)
  local amounts = redis.call('HGET', KEYS[3], request)
  local heldTokens, heldCost = string.match(amounts, '^(%S+) (%S+)$')
  redis.call('HDEL', KEYS[3], request)
  redis.call('ZREM', KEYS[2], request)
  reserved = reserved - tonumber(heldCost)
  if level.t then level.t = level.t + tonumber(heldTokens) end
end

-- Leftovers of adding and subtracting fractions do not add up over the years.
local function tidy() if redis.call('ZCARD', KEYS[2]) == 0 then reserved = 0 end end

repeat
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, 500)
  for _, request in ipairs(due) do giveBack(request) end
until #due == 0
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', text(now - memory))
tidy()

local function refilled(which)
  local limit = perMinute[which]
  if not level[which] then return limit, now end
  local atNow = math.max(now, at[which])
  return math.min(limit, level[which] + (atNow - at[which]) * limit / 60000), atNow
end

local function untilLevel(which, wanted)
  local has = refilled(which)
  return math.max(0, math.ceil((wanted - has) * 60000 / perMinute[which]))
end

local outcome, retryAfter = 'ok', 0

if op == 'reserve' and not redis.call('ZSCORE', KEYS[2], id) and not redis.call('ZSCORE', KEYS[4], id) then
  local needed = math.min(tokens, perMinute.t)
  if perMinute.r > 0 and refilled('r') < 1 then
    outcome, retryAfter = 'requests', untilLevel('r', 1)
  elseif perMinute.t > 0 and refilled('t') < needed then
    outcome, retryAfter = 'tokens', untilLevel('t', needed)
  elseif budget > 0 and spent + reserved + cost > budget then
    outcome = 'budget'
  else
    if perMinute.r > 0 then
      level.r, at.r = refilled('r')
      level.r = level.r - 1
    end
    local held = 0
    if perMinute.t > 0 then
      level.t, at.t = refilled('t')
      level.t = level.t - tokens
      held = tokens
    end
    reserved = reserved + cost
    redis.call('ZADD', KEYS[2], text(now + ttl), id)
    redis.call('HSET', KEYS[3], id, text(held) .. ' ' .. text(cost))
  end
elseif op == 'settle' and not redis.call('ZSCORE', KEYS[4], id) then
  if redis.call('ZSCORE', KEYS[2], id) then giveBack(id) end
  if level.t then level.t = level.t - tokens end
  spent = spent + cost
  redis.call('ZADD', KEYS[4], text(now), id)
  redis.call('PEXPIRE', KEYS[4], memory * 2)
  tidy()
end

redis.call('HSET', KEYS[1], 'spent', text(spent), 'reserved', text(reserved))
if level.r then redis.call('HSET', KEYS[1], 'rl', text(level.r), 'ra', text(at.r)) end
if level.t then redis.call('HSET', KEYS[1], 'tl', text(level.t), 'ta', text(at.t)) end

local state = { remaining = {}, reset = {} }
for _, which in ipairs({ 'r', 't' }) do
  state.remaining[which], state.reset[which] = 0, 0
  if perMinute[which] > 0 then
    local has = refilled(which)
    state.remaining[which] = math.max(0, math.floor(has))
    state.reset[which] = untilLevel(which, perMinute[which])
  end
end
return { outcome, text(retryAfter), text(state.remaining.r), text(state.reset.r), text(state.remaining.t), text(state.reset.t), text(spent), text(reserved) }
`);
