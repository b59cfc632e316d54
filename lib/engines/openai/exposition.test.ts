import { expect, test } from 'vitest';
import { meanOf, readSamples, sumOf } from './exposition.ts';

const text = `# HELP vllm:num_requests_running x
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a\\"b"} 2.0
vllm:num_requests_running{engine="1",model_name="a"} 3.0
vllm:num_requests_running_by_reason{reason="x"} 50
vllm:num_requests_running_created 1.7e+09
bare 4 1700000000
broken{ nothing
nan NaN`;

test('whole names count, for every engine behind the server', () => {
  const samples = readSamples(text, new Set(['vllm:num_requests_running', 'bare', 'broken', 'nan']));
  expect([sumOf(samples, 'vllm:num_requests_running'), meanOf(samples, 'vllm:num_requests_running'), sumOf(samples, 'bare')]).toEqual([5, 2.5, 4]);
  expect(samples.get('vllm:num_requests_running')![0]!.labels).toEqual({ engine: '0', model_name: 'a"b' });
  expect([samples.has('broken'), samples.has('nan'), sumOf(samples, 'absent'), meanOf(samples, 'absent')]).toEqual([
    false,
    false,
    undefined,
    undefined,
  ]);
});
