import { describe, expect, test, vi } from 'vitest';
import { parseSettings, sharing, startCommand } from './settings.ts';

const parse = (args: string[], env: NodeJS.ProcessEnv = {}) => {
  const before = { ...process.env };
  Object.assign(process.env, env);
  try {
    return parseSettings('/repo', args, env);
  } finally {
    for (const name of Object.keys(env)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
};

describe('settings of npm start', () => {
  test('defaults', () => {
    const settings = parse([]);
    expect(settings.ports.gateway).toEqual({ port: 8080, chosen: false, flag: 'gateway-port', variable: 'SWITCHYARD_GATEWAY_PORT' });
    expect(settings).toMatchObject({
      host: '127.0.0.1',
      stateFolder: '/repo/.switchyard',
      configFolder: '/repo/infra/config',
      embedded: false,
      tracing: true,
    });
  });

  test('a flag goes before its variable, and both count as chosen', () => {
    expect(parse([], { SWITCHYARD_GATEWAY_PORT: '9000' }).ports.gateway).toMatchObject({ port: 9000, chosen: true });
    expect(parse(['--gateway-port', '9001'], { SWITCHYARD_GATEWAY_PORT: '9000' }).ports.gateway).toMatchObject({ port: 9001, chosen: true });
  });

  test('two ports that clients know cannot be the same', () => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    expect(() => parse(['--gateway-port', '8090'])).toThrow('--gateway-port and --console-port are both 8090');
    expect(() => parse(['--console-port', '9000', '--nats-port', '9000'])).toThrow('are both 9000');
    said.mockRestore();
    expect(sharing(parse(['--gateway-port', '6379']).ports, 'redis')).toMatchObject({ flag: 'gateway-port' });
  });

  test('folders may be absolute', () => {
    expect(parse(['--state', '/var/lib/switchyard']).stateFolder).toBe('/var/lib/switchyard');
  });

  test('switches', () => {
    expect(parse(['--embedded', '--fresh', '--no-tracing'])).toMatchObject({ embedded: true, fresh: true, tracing: false });
  });

  test('the help names every port with its variable', () => {
    const help = startCommand().helpInformation();
    for (const variable of ['SWITCHYARD_GATEWAY_PORT', 'SWITCHYARD_CONSOLE_PORT', 'SWITCHYARD_NATS_PORT']) expect(help).toContain(variable);
  });
});
