import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: { name: 'unit', include: ['{core,lib,services,workflows,cli,proto,infra}/**/*.test.ts', 'test/tidy/*.test.ts', 'test/fuzz/*.test.ts'] },
      },
      {
        test: {
          name: 'servers',
          include: ['test/**/*.test.ts'],
          exclude: ['test/tidy/**', 'test/fuzz/**'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
