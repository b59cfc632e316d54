// Fields of a body that are the control plane's: where KV is fetched from and to whom it is handed, who computes what, and who goes
// first. A client's `kv_transfer_params` with made-up blocks ends a vLLM's engine (observed on 0.32.0).

export const forbiddenFields = [
  'kv_transfer_params',
  'ec_transfer_params',
  'priority',
  // vLLM hands these to the same place as the fields of their own.
  'vllm_xargs.kv_transfer_params',
  'vllm_xargs.ec_transfer_params',
  // As some clients send what their library calls so. No engine reads it, but a proxy in front of one may.
  'extra_body.kv_transfer_params',
  'extra_body.priority',
  // SGLang: where the prefill was computed, and by which of its engines it is to be decoded.
  'bootstrap_host',
  'bootstrap_port',
  'bootstrap_room',
  'data_parallel_rank',
  // llama-server: the slot, whose KV another request may own.
  'id_slot',
] as const;
