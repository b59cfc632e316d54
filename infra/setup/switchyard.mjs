#!/usr/bin/env node
// The `switchyard` command of this checkout (node_modules/.bin/switchyard points here): cli/main.ts on the right Node.
import { main } from './bootstrap.mjs';

await main('cli/main.ts', process.argv.slice(2));
