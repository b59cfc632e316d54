// The closed list of codes for refusals and failures. One function per boundary maps them: HTTP (services/gateway),
// NATS headers (lib/bus), Temporal failures (lib/workflows).

export interface CodeEntry {
  readonly retryable: boolean;
  /** What the client of the HTTP API sees. */
  readonly http: number;
  readonly type:
    | 'invalid_request_error'
    | 'authentication_error'
    | 'permission_error'
    | 'not_found_error'
    | 'rate_limit_error'
    | 'insufficient_quota'
    | 'server_error'
    | 'overloaded';
}

export const codes = {
  // What a client did.
  invalid_request: { retryable: false, http: 400, type: 'invalid_request_error' },
  invalid_json: { retryable: false, http: 400, type: 'invalid_request_error' },
  context_length_exceeded: { retryable: false, http: 400, type: 'invalid_request_error' },
  body_too_large: { retryable: false, http: 413, type: 'invalid_request_error' },
  method_not_allowed: { retryable: false, http: 405, type: 'invalid_request_error' },
  not_found: { retryable: false, http: 404, type: 'not_found_error' },
  model_not_found: { retryable: false, http: 404, type: 'not_found_error' },
  invalid_api_key: { retryable: false, http: 401, type: 'authentication_error' },
  permission_denied: { retryable: false, http: 403, type: 'permission_error' },
  client_left: { retryable: false, http: 499, type: 'invalid_request_error' },
  client_too_slow: { retryable: false, http: 499, type: 'invalid_request_error' },
  // Limits and room.
  rate_limit_exceeded: { retryable: true, http: 429, type: 'rate_limit_error' },
  insufficient_quota: { retryable: false, http: 429, type: 'insufficient_quota' },
  queue_full: { retryable: true, http: 429, type: 'overloaded' },
  queue_timeout: { retryable: true, http: 429, type: 'overloaded' },
  shed: { retryable: true, http: 429, type: 'overloaded' },
  all_saturated: { retryable: true, http: 429, type: 'overloaded' },
  no_instance: { retryable: true, http: 503, type: 'server_error' },
  draining: { retryable: true, http: 503, type: 'server_error' },
  // Data plane.
  stream_interrupted: { retryable: true, http: 503, type: 'server_error' },
  cannot_continue: { retryable: false, http: 500, type: 'server_error' },
  engine_error: { retryable: true, http: 502, type: 'server_error' },
  engine_unavailable: { retryable: true, http: 503, type: 'server_error' },
  engine_overloaded: { retryable: true, http: 429, type: 'overloaded' },
  kv_too_large: { retryable: false, http: 400, type: 'invalid_request_error' },
  // Control plane.
  timeout: { retryable: true, http: 503, type: 'server_error' },
  no_responders: { retryable: true, http: 503, type: 'server_error' },
  bus_unavailable: { retryable: true, http: 503, type: 'server_error' },
  store_unavailable: { retryable: true, http: 503, type: 'server_error' },
  workflows_unavailable: { retryable: true, http: 503, type: 'server_error' },
  workflow_not_found: { retryable: false, http: 404, type: 'not_found_error' },
  workflow_failed: { retryable: false, http: 500, type: 'server_error' },
  unreachable: { retryable: true, http: 503, type: 'server_error' },
  port_taken: { retryable: false, http: 500, type: 'server_error' },
  not_owner: { retryable: true, http: 503, type: 'server_error' },
  stale_view: { retryable: true, http: 503, type: 'server_error' },
  stale_epoch: { retryable: false, http: 409, type: 'invalid_request_error' },
  mailbox_full: { retryable: true, http: 503, type: 'overloaded' },
  internal: { retryable: false, http: 500, type: 'server_error' },
  invalid_config: { retryable: false, http: 500, type: 'server_error' },
  // Migration.
  unknown_request: { retryable: false, http: 404, type: 'not_found_error' },
  unknown_instance: { retryable: false, http: 404, type: 'not_found_error' },
  unknown_pool: { retryable: false, http: 404, type: 'not_found_error' },
  unknown_reservation: { retryable: false, http: 404, type: 'not_found_error' },
  reservation_expired: { retryable: false, http: 409, type: 'invalid_request_error' },
  not_movable: { retryable: true, http: 409, type: 'invalid_request_error' },
  already_moving: { retryable: true, http: 409, type: 'invalid_request_error' },
  no_target: { retryable: true, http: 409, type: 'invalid_request_error' },
  target_full: { retryable: true, http: 409, type: 'invalid_request_error' },
  too_many_stages: { retryable: true, http: 409, type: 'invalid_request_error' },
  transfer_failed: { retryable: true, http: 502, type: 'server_error' },
  corrupt_kv: { retryable: true, http: 502, type: 'server_error' },
  sequence_finished: { retryable: false, http: 409, type: 'invalid_request_error' },
  sequence_preempted: { retryable: true, http: 409, type: 'invalid_request_error' },
  cancelled: { retryable: false, http: 409, type: 'invalid_request_error' },
  deadline_exceeded: { retryable: true, http: 503, type: 'server_error' },
  // Scaling and approvals.
  scaling_in_progress: { retryable: true, http: 409, type: 'invalid_request_error' },
  no_launcher: { retryable: true, http: 503, type: 'server_error' },
  out_of_range: { retryable: false, http: 400, type: 'invalid_request_error' },
  conditions_changed: { retryable: true, http: 409, type: 'invalid_request_error' },
  approval_required: { retryable: false, http: 409, type: 'invalid_request_error' },
  approval_rejected: { retryable: false, http: 409, type: 'invalid_request_error' },
  approval_expired: { retryable: false, http: 409, type: 'invalid_request_error' },
  unknown_approval: { retryable: false, http: 404, type: 'not_found_error' },
  approval_closed: { retryable: false, http: 409, type: 'invalid_request_error' },
  voter_is_requester: { retryable: false, http: 403, type: 'permission_error' },
  already_voted: { retryable: false, http: 409, type: 'invalid_request_error' },
  hash_mismatch: { retryable: false, http: 409, type: 'invalid_request_error' },
} as const satisfies Record<string, CodeEntry>;

export type Code = keyof typeof codes;

/** False for anything received that is not on the list: a newer version's code, or the name of a property of every object. */
export function isCode(text: unknown): text is Code {
  return typeof text === 'string' && Object.hasOwn(codes, text);
}
