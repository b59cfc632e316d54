import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decideSource, type Facts } from './decide-source.ts';
import { programNames, programs } from './programs.ts';

const bare: Facts = {
  found: [],
  platform: 'linux-x64',
  goVersion: undefined,
  javaMajor: undefined,
  maven: false,
  root: false,
  packageManager: undefined,
};

const kinds = (name: (typeof programNames)[number], facts: Partial<Facts>) =>
  decideSource(programs[name], { ...bare, ...facts }).steps.map((step) => step.kind);

describe('where a program comes from', () => {
  test('a suitable program on PATH is used and nothing else is tried', () => {
    const found = [{ path: '/usr/bin/nats-server', where: 'PATH', version: '2.15.2' }] as const;
    expect(decideSource(programs['nats-server'], { ...bare, found, goVersion: '1.26' })).toEqual({
      steps: [{ kind: 'found', path: '/usr/bin/nats-server', where: 'PATH', version: '2.15.2' }],
      closed: [],
    });
  });

  test('the nats-server of Debian is too old and the reason is given', () => {
    const found = [{ path: '/usr/sbin/nats-server', where: 'PATH', version: '2.9.10' }] as const;
    const plan = decideSource(programs['nats-server'], { ...bare, found, goVersion: '1.26.8' });
    expect(plan.steps.map((step) => step.kind)).toEqual(['release', 'go']);
    expect(plan.closed[0]).toContain('/usr/sbin/nats-server is 2.9.10, and 2.11.0 is needed');
  });

  test('an unsuitable one on PATH does not hide a suitable one in the cache', () => {
    const found = [
      { path: '/usr/sbin/nats-server', where: 'PATH', version: '2.9.10' },
      { path: '/cache/nats-server', where: 'cache', version: '2.15.2' },
    ] as const;
    expect(decideSource(programs['nats-server'], { ...bare, found }).steps).toEqual([
      { kind: 'found', path: '/cache/nats-server', where: 'cache', version: '2.15.2' },
    ]);
  });

  test('one that does not say its version is not trusted', () => {
    const found = [{ path: '/opt/temporal', where: 'PATH', version: undefined }] as const;
    const plan = decideSource(programs.temporal, { ...bare, found });
    expect(plan.steps.map((step) => step.kind)).toEqual(['release']);
    expect(plan.closed).toContain('/opt/temporal does not say its version');
  });

  test.each([
    ['temporal', { goVersion: '1.26.8' }, ['release', 'go']],
    ['temporal', { goVersion: '1.19' }, ['release']],
    ['temporal', { platform: 'freebsd-x64' as const, goVersion: '1.26.8' }, ['go']],
    ['redis-server', { root: true, packageManager: 'apt-get' as const }, ['package']],
    ['redis-server', { packageManager: 'apt-get' as const }, []],
    ['redis-server', { root: true }, []],
    ['jaeger', {}, ['release']],
    ['zipkin', { javaMajor: 17, maven: true }, ['maven']],
    ['zipkin', { javaMajor: 11, maven: true }, []],
    ['zipkin', { javaMajor: 21 }, []],
  ] as const)('%s with %o is tried by %o', (name, facts, expected) => {
    expect(kinds(name, facts)).toEqual(expected);
  });

  test('without root the message for Redis names the package', () => {
    expect(decideSource(programs['redis-server'], { ...bare, packageManager: 'dnf' }).closed).toEqual(['installing the package redis needs root']);
  });

  test('there is always a step or a reason, and what was found comes alone', () => {
    const version = fc.option(fc.constantFrom('0.0.1', '1.29.1', '2.9.10', '2.15.2', '7.0.15'), { nil: undefined });
    const facts = fc.record<Facts>({
      found: fc.array(fc.record({ path: fc.string(), where: fc.constantFrom('PATH' as const, 'cache' as const), version }), { maxLength: 3 }),
      platform: fc.constantFrom('linux-x64' as const, 'darwin-arm64' as const, 'aix-ppc64' as const),
      goVersion: fc.option(fc.constantFrom('1.18', '1.26.8'), { nil: undefined }),
      javaMajor: fc.option(fc.constantFrom(8, 17, 25), { nil: undefined }),
      maven: fc.boolean(),
      root: fc.boolean(),
      packageManager: fc.option(fc.constantFrom('apt-get' as const, 'apk' as const, 'dnf' as const), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.constantFrom(...programNames), facts, (name, given) => {
        const plan = decideSource(programs[name], given);
        expect(plan.steps.length + plan.closed.length).toBeGreaterThan(0);
        if (plan.steps.some((step) => step.kind === 'found')) expect(plan.steps).toHaveLength(1);
      }),
    );
  });
});

describe('versions that programs print', () => {
  test.each([
    ['nats-server', 'nats-server: v2.15.2', '2.15.2'],
    ['redis-server', 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=1', '7.0.15'],
    ['temporal', 'temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)', '1.29.1'],
    ['temporal', 'temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)', '1.29.1'],
    ['jaeger', '{"gitCommit":"abc","gitVersion":"v2.13.0","buildDate":"2025-12-02T00:00:00Z"}', '2.13.0'],
    ['nats-server', 'no version', undefined],
  ] as const)('%s: %s', (name, printed, expected) => {
    expect(programs[name].readVersion(printed)).toBe(expected);
  });
});
