import { describe, expect, test } from 'vitest';
import { natsEnvironment } from './servers.ts';

describe('the environment of NATS', () => {
  test('keeps it on one thread at a time where there are two cores, unless it says otherwise', () => {
    expect(natsEnvironment({ A: '1' }, 2)).toEqual({ A: '1', GOMAXPROCS: '1' });
    expect(natsEnvironment({ GOMAXPROCS: '2' }, 2)).toEqual({ GOMAXPROCS: '2' });
    expect(natsEnvironment({ A: '1' }, 4)).toEqual({ A: '1' });
  });
});
