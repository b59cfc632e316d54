import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';

const asking = `
  const { freePorts } = await import(process.argv[1]);
  console.log(JSON.stringify(await freePorts(150)));
  process.stdin.resume();
`;

test('processes that ask at once are given different ports, below those of outgoing connections', async () => {
  const children = Array.from({ length: 3 }, () =>
    spawn(process.execPath, ['--input-type=module', '--eval', asking, join(import.meta.dirname, 'ports.ts')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  try {
    const given = await Promise.all(children.map(async ({ stdout }) => JSON.parse((await once(createInterface(stdout), 'line'))[0]) as number[]));
    const ports = given.flat();
    expect(ports).toHaveLength(450);
    expect(new Set(ports).size).toBe(450);
    expect(ports.every((port) => port >= 20_000 && port < 32_768)).toBe(true);
  } finally {
    for (const { stdin } of children) stdin.end();
    await Promise.all(children.map((child) => child.exitCode ?? once(child, 'exit')));
  }
});
