import { describe, expect, test } from 'vitest';
import { sumFor } from './fetch-program.ts';

const a = 'a'.repeat(64);
const b = 'b'.repeat(64);

describe('the checksum of a file in a published list', () => {
  const list = `${a}  server-linux-amd64.tar.gz\n${b} *server/bin/server\nnonsense  other\n`;

  test('in both forms that sha256sum writes', () => {
    expect(sumFor(list, 'server-linux-amd64.tar.gz')).toBe(a);
    expect(sumFor(list, 'server/bin/server')).toBe(b);
  });

  test.each(['server-linux-arm64.tar.gz', 'other', 'linux-amd64.tar.gz'])('%s has none', (name) => {
    expect(() => sumFor(list, name)).toThrow(`no line for ${name}`);
  });
});
