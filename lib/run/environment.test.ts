import { expect, test } from 'vitest';
import { environmentWarnings, readEnvironment } from './environment.ts';

test('nothing set means the defaults, an empty variable counts as absent', () => {
  expect(readEnvironment({ NATS_URL: '', PATH: '/bin' })).toEqual(readEnvironment({}));
  expect(readEnvironment({})).toMatchObject({
    NATS_URL: 'nats://127.0.0.1:4222',
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: 1,
  });
});

test('the standard sampler variables are taken', () => {
  const given = readEnvironment({ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' });
  expect(given).toMatchObject({ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: 0.25 });
});

test.each([
  ['OTEL_TRACES_SAMPLER', 'jaeger_remote'],
  ['OTEL_TRACES_SAMPLER_ARG', '2'],
  ['OTEL_TRACES_EXPORTER', 'console'],
  ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
  ['SWITCHYARD_PROBE_PORT', '70000'],
  ['SWITCHYARD_ID', 'with spaces'],
])('%s=%s is refused by name', (name, value) => {
  expect(() => readEnvironment({ [name]: value })).toThrow(name);
});

test('standard variables that nothing reads are named, the ones of the exporters are not', () => {
  const warnings = environmentWarnings({
    OTEL_SERVICE_NAME: 'mine',
    OTEL_BSP_MAX_QUEUE_SIZE: '5',
    OTEL_PROPAGATORS: '',
    OTEL_TRACES_SAMPLER: 'always_on',
    OTEL_RESOURCE_ATTRIBUTES: 'a=b',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://x',
    HOME: '/root',
  });
  expect(warnings.map((warning) => warning.split(' ')[0])).toEqual(['OTEL_BSP_MAX_QUEUE_SIZE', 'OTEL_SERVICE_NAME']);
});
