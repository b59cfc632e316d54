// Small Llama models with random weights, for tests and benches without a download. They speak words without sense, never end
// by themselves, and cost what a model of their shape costs.
import { type GgufTensor, type GgufValue, writeGguf } from './gguf-writer.ts';
import { fillRandom } from './random-weights.ts';
import { type WordVocabulary, wordVocabulary } from './word-vocabulary.ts';

export const randomPresets = ['exact', 'tiny', 'small', 'medium', 'exact-medium'] as const;
export type RandomPreset = (typeof randomPresets)[number];

/** Grows when the same preset and seed give another file. */
export const generatorVersion = 1;

interface Shape {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly ffn: number;
}

/**
 * `exact` and `exact-medium`: width, head size and FFN width are all 2 mod 4. llama.cpp's blocked matrix product declines
 * these, so that results do not depend on what else is in a batch (flash attention off).
 */
const shapes: Readonly<Record<RandomPreset, Shape>> = {
  exact: { layers: 4, width: 130, heads: 5, kvHeads: 1, ffn: 386 },
  tiny: { layers: 4, width: 128, heads: 4, kvHeads: 2, ffn: 384 },
  small: { layers: 6, width: 256, heads: 8, kvHeads: 4, ffn: 768 },
  medium: { layers: 12, width: 512, heads: 8, kvHeads: 4, ffn: 1536 },
  'exact-medium': { layers: 12, width: 510, heads: 5, kvHeads: 5, ffn: 1534 },
};

/**
 * Sixteenths. Strong queries and keys make attention choose, a weak embedding makes what was chosen count: with others a
 * model soon repeats itself, and tests of equality would mean little.
 */
const gains = { embedding: 8, query: 40, key: 40, value: 24, attention: 32, ffn: 16, output: 80 };

const contextTokens = 32_768;
const usualTemplate = [
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
].join('');

/** A GGUF file. The same preset and seed give the same bytes on every machine. */
export function randomModel(preset: RandomPreset, options: { readonly seed?: number; readonly chatTemplate?: string } = {}): Uint8Array {
  const shape = shapes[preset];
  const vocabulary = wordVocabulary();
  return writeGguf(metadataOf(preset, shape, vocabulary, options.chatTemplate ?? usualTemplate), tensorsOf(shape, vocabulary, options.seed ?? 1));
}

function metadataOf(preset: RandomPreset, shape: Shape, vocabulary: WordVocabulary, chatTemplate: string): Map<string, GgufValue> {
  const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });
  const float32 = (value: number): GgufValue => ({ type: 'float32', value });
  const string = (value: string): GgufValue => ({ type: 'string', value });
  return new Map<string, GgufValue>([
    ['general.architecture', string('llama')],
    ['general.name', string(`switchyard-random-${preset}`)],
    ['general.file_type', uint32(1)],
    ['llama.context_length', uint32(contextTokens)],
    ['llama.embedding_length', uint32(shape.width)],
    ['llama.block_count', uint32(shape.layers)],
    ['llama.feed_forward_length', uint32(shape.ffn)],
    ['llama.attention.head_count', uint32(shape.heads)],
    ['llama.attention.head_count_kv', uint32(shape.kvHeads)],
    ['llama.attention.layer_norm_rms_epsilon', float32(1e-5)],
    ['llama.rope.dimension_count', uint32(shape.width / shape.heads)],
    ['llama.rope.freq_base', float32(10_000)],
    ['llama.vocab_size', uint32(vocabulary.pieces.length)],
    ['tokenizer.ggml.model', string('llama')],
    ['tokenizer.ggml.tokens', { type: 'strings', value: vocabulary.pieces }],
    ['tokenizer.ggml.scores', { type: 'float32s', value: vocabulary.pieces.map((_, id) => -id) }],
    ['tokenizer.ggml.token_type', { type: 'int32s', value: vocabulary.kinds }],
    ['tokenizer.ggml.bos_token_id', uint32(vocabulary.bosId)],
    ['tokenizer.ggml.eos_token_id', uint32(vocabulary.eosId)],
    ['tokenizer.ggml.eot_token_id', uint32(vocabulary.eotId)],
    ['tokenizer.ggml.unknown_token_id', uint32(0)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: true }],
    ['tokenizer.chat_template', string(chatTemplate)],
  ]);
}

function tensorsOf(shape: Shape, vocabulary: WordVocabulary, seed: number): GgufTensor[] {
  const { layers, width, ffn } = shape;
  const kvWidth = (width / shape.heads) * shape.kvHeads;
  const pieces = vocabulary.pieces.length;
  const random = (name: string, inputs: number, outputs: number, gain: number): GgufTensor => ({
    name: `${name}.weight`,
    shape: [inputs, outputs],
    elements: 'float16',
    fill: (bytes) => fillRandom(bytes, { seed, name, gain, inputs }),
  });
  const ones = (name: string): GgufTensor => ({
    name: `${name}.weight`,
    shape: [width],
    elements: 'float32',
    fill: (bytes) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let at = 0; at < bytes.length; at += 4) view.setFloat32(at, 1, true);
    },
  });
  const rowBytes = width * 2;
  const output: GgufTensor = {
    ...random('output', width, pieces, gains.output),
    // What is no word scores 0 always, and never wins.
    fill: (bytes) => {
      for (const id of vocabulary.spokenIds) {
        fillRandom(bytes.subarray(id * rowBytes, (id + 1) * rowBytes), { seed, name: `output.${id}`, gain: gains.output, inputs: width });
      }
    },
  };
  const blocks = Array.from({ length: layers }, (_, layer) => [
    ones(`blk.${layer}.attn_norm`),
    random(`blk.${layer}.attn_q`, width, width, gains.query),
    random(`blk.${layer}.attn_k`, width, kvWidth, gains.key),
    random(`blk.${layer}.attn_v`, width, kvWidth, gains.value),
    random(`blk.${layer}.attn_output`, width, width, gains.attention),
    ones(`blk.${layer}.ffn_norm`),
    random(`blk.${layer}.ffn_gate`, width, ffn, gains.ffn),
    random(`blk.${layer}.ffn_up`, width, ffn, gains.ffn),
    random(`blk.${layer}.ffn_down`, ffn, width, gains.ffn),
  ]);
  // A row of the embedding is looked up, not multiplied: its size is the gain itself.
  return [random('token_embd', 1, pieces * width, gains.embedding), ones('output_norm'), output, ...blocks.flat()].map((tensor) =>
    tensor.name === 'token_embd.weight' ? { ...tensor, shape: [width, pieces] } : tensor,
  );
}
