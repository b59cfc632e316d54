// A tiny Llama with random weights as vLLM loads one: a folder with configuration, byte-level tokenizer and safetensors. The same
// bytes on every machine. It speaks words without sense, now and then half a character, and never ends by itself.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { words } from '../../core/engine/vocabulary.ts';
import { fillRandom } from '../../lib/engines/llama/gguf/random-weights.ts';

const shape = { width: 256, layers: 2, heads: 4, kvHeads: 2, headWidth: 64, ffn: 512, contextTokens: 4096 };
/** Sixteenths, as in lib/engines/llama/gguf: strong attention keeps greedy decoding from going round in circles. */
const gains = { embedding: 16, query: 40, key: 40, value: 32, attention: 32, ffn: 16, output: 80 };
const specials = ['<|bos|>', '<|eos|>', '<|pad|>', '<|system|>', '<|user|>', '<|assistant|>', '<|tool|>', '<|end|>'];
const spokenWords = 400;
/** The two bytes of é: a token of its own each. */
const halves = [0xc3, 0xa9];

const chatTemplate = [
  '{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content or "" }}',
  '{% if not loop.last or not continue_final_message %}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}',
].join('');

/** Writes the model into a folder, which is made. */
export function writeTinyModel(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const { vocabulary, merges, spokenIds } = tokenizer();
  const json = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value));
  json('tokenizer.json', tokenizerFile(vocabulary, merges));
  json('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...{ bos_token: specials[0], eos_token: specials[1], pad_token: specials[2] },
    ...{ model_max_length: shape.contextTokens, clean_up_tokenization_spaces: false, chat_template: chatTemplate },
  });
  const ids = { bos_token_id: 0, eos_token_id: 1, pad_token_id: 2 };
  json('generation_config.json', ids);
  json('config.json', {
    ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', vocab_size: vocabulary.length, torch_dtype: 'float16', ...ids },
    ...{ hidden_size: shape.width, intermediate_size: shape.ffn, num_hidden_layers: shape.layers, head_dim: shape.headWidth },
    ...{ num_attention_heads: shape.heads, num_key_value_heads: shape.kvHeads, max_position_embeddings: shape.contextTokens },
    ...{ rms_norm_eps: 1e-5, rope_theta: 10_000, hidden_act: 'silu', tie_word_embeddings: false },
  });
  writeFileSync(join(folder, 'model.safetensors'), safetensors(tensors(vocabulary.length, spokenIds)));
}

interface Tokenizer {
  /** By id. */
  readonly vocabulary: readonly string[];
  readonly merges: readonly (readonly [string, string])[];
  readonly spokenIds: readonly number[];
}

/** Specials, the 256 bytes, and words: two pieces are joined at a time, so a word has all its beginnings beside it. */
function tokenizer(): Tokenizer {
  const bytes = byteNames();
  const space = bytes[0x20]!;
  const vocabulary = [...specials, ...bytes];
  const ids = new Map(vocabulary.map((piece, id) => [piece, id]));
  const merges: [string, string][] = [];
  const spoken = new Set(['.', ',', ...halves.map((byte) => bytes[byte]!)].map((piece) => ids.get(piece)!));
  const stride = Math.ceil(words.length / spokenWords);
  for (const word of words.filter((_, index) => index % stride === 0)) {
    let known = space;
    for (const letter of word) {
      if (!ids.has(known + letter)) {
        merges.push([known, letter]);
        ids.set(known + letter, vocabulary.length);
        vocabulary.push(known + letter);
      }
      known += letter;
    }
    spoken.add(ids.get(known)!);
  }
  return { vocabulary, merges, spokenIds: [...spoken] };
}

/** How byte-level tokenizers write each byte as a character: itself where that can be seen, else one from 256 on (GPT-2). */
function byteNames(): string[] {
  let next = 256;
  const isVisible = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isVisible(byte) ? byte : next++));
}

function tokenizerFile(vocabulary: readonly string[], merges: readonly (readonly [string, string])[]) {
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    ...{ version: '1.0', truncation: null, padding: null, normalizer: null, post_processor: null },
    added_tokens: specials.map((content, id) => ({ id, content, ...special })),
    ...{ pre_tokenizer: byteLevel, decoder: byteLevel },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(vocabulary.map((piece, id) => [piece, id])),
      merges,
    },
  };
}

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** All in half precision. */
function tensors(pieces: number, spokenIds: readonly number[]): Tensor[] {
  const { width, ffn, heads, kvHeads, headWidth, layers } = shape;
  const random = (name: string, outputs: number, inputs: number, gain: number): Tensor => {
    const bytes = new Uint8Array(outputs * inputs * 2);
    fillRandom(bytes, { seed: 1, name, gain, inputs: name === 'model.embed_tokens.weight' ? 1 : inputs });
    return { name, shape: [outputs, inputs], bytes };
  };
  const ones = (name: string): Tensor => ({ name, shape: [width], bytes: new Uint8Array(new Uint16Array(width).fill(0x3c00).buffer) });
  // What is not to be said scores 0 always, and never wins.
  const output: Tensor = { name: 'lm_head.weight', shape: [pieces, width], bytes: new Uint8Array(pieces * width * 2) };
  for (const id of spokenIds)
    fillRandom(output.bytes.subarray(id * width * 2, (id + 1) * width * 2), { seed: 1, name: `output.${id}`, gain: gains.output, inputs: width });
  const blocks = Array.from({ length: layers }, (_, layer) => {
    const at = `model.layers.${layer}`;
    return [
      ones(`${at}.input_layernorm.weight`),
      ones(`${at}.post_attention_layernorm.weight`),
      random(`${at}.self_attn.q_proj.weight`, heads * headWidth, width, gains.query),
      random(`${at}.self_attn.k_proj.weight`, kvHeads * headWidth, width, gains.key),
      random(`${at}.self_attn.v_proj.weight`, kvHeads * headWidth, width, gains.value),
      random(`${at}.self_attn.o_proj.weight`, width, heads * headWidth, gains.attention),
      random(`${at}.mlp.gate_proj.weight`, ffn, width, gains.ffn),
      random(`${at}.mlp.up_proj.weight`, ffn, width, gains.ffn),
      random(`${at}.mlp.down_proj.weight`, width, ffn, gains.ffn),
    ];
  });
  return [random('model.embed_tokens.weight', pieces, width, gains.embedding), ones('model.norm.weight'), output, ...blocks.flat()];
}

/** Format: github.com/huggingface/safetensors. A JSON header with its length before it, then the bytes. */
function safetensors(list: readonly Tensor[]): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, shape: dimensions, bytes } of list) {
    header[name] = { dtype: 'F16', shape: dimensions, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...list.map(({ bytes }) => bytes)]);
}
