// keys: API keys of clients, programs and operators.
import { type Command, InvalidArgumentError } from 'commander';
import colors from 'picocolors';
import { keyScopes } from '../../lib/auth/keys.ts';
import type { KeyRow } from '../../lib/operator/types.ts';
import { printTable, say } from '../output.ts';
import { type ContextOf, path, present } from './context.ts';

function amount(text: string): number {
  const value = Number(text);
  if (!(value >= 0)) throw new InvalidArgumentError('a number, 0 or more (0: unlimited)');
  return value;
}

function limit(value: number): string {
  return value === 0 ? '-' : String(value);
}

function dollars(micros: number): string {
  return `$${(micros / 1e6).toFixed(4)}`;
}

/** What commas separate. */
function words(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

export function addKeyCommands(program: Command, contextOf: ContextOf): void {
  const keys = program.command('keys').description('API keys: list (default), create, revoke');

  keys
    .command('list', { isDefault: true })
    .description('every key with its limits and what it has spent')
    .action(async () => {
      const context = contextOf();
      present(context, await context.client.get<KeyRow[]>('/keys'), (rows) =>
        printTable(
          rows,
          [
            { title: 'ID', value: (row) => row.id },
            { title: 'NAME', value: (row) => row.name },
            { title: 'SCOPES', value: (row) => row.scopes.join(',') },
            { title: 'MODELS', value: (row) => row.models.join(',') || 'all' },
            { title: 'REQ/MIN', value: (row) => limit(row.requestsPerMinute), align: 'right' },
            { title: 'TOK/MIN', value: (row) => limit(row.tokensPerMinute), align: 'right' },
            { title: 'SPENT', value: (row) => dollars(row.spentMicros), align: 'right' },
            { title: 'BUDGET', value: (row) => (row.budgetMicros === 0 ? '-' : dollars(row.budgetMicros)), align: 'right' },
            { title: 'STATE', value: (row) => (row.revoked ? colors.red('revoked') : colors.green('active')) },
          ],
          'No keys. Create one: switchyard keys create <name>',
        ),
      );
    });

  keys
    .command('create')
    .argument('<name>', 'of whoever gets it, for lists and the audit log')
    .description('make a key; its secret is shown this once')
    .option('--scopes <names>', `comma-separated, of ${keyScopes.join(', ')}`, 'inference')
    .option('--models <names>', 'comma-separated models it may use (default all)')
    .option('--requests-per-minute <n>', '0: unlimited', amount, 0)
    .option('--tokens-per-minute <n>', '0: unlimited', amount, 0)
    .option('--budget <dollars>', 'total spend, 0: unlimited', amount, 0)
    .action(
      async (name: string, options: { scopes: string; models?: string; requestsPerMinute: number; tokensPerMinute: number; budget: number }) => {
        const context = contextOf();
        const created = await context.client.post<KeyRow & { secret: string }>('/keys', {
          name,
          scopes: words(options.scopes),
          models: words(options.models ?? ''),
          requestsPerMinute: options.requestsPerMinute,
          tokensPerMinute: options.tokensPerMinute,
          budgetMicros: Math.round(options.budget * 1e6),
        });
        present(context, created, (key) => {
          say(`${key.id} (${key.name}): ${colors.bold(key.secret)}`);
          say('This is the only time the secret is shown; only its hash is kept.');
        });
      },
    );

  keys
    .command('revoke')
    .argument('<id>', 'see "switchyard keys"; not the secret')
    .description('refuse a key from now on')
    .action(async (id: string) => {
      const context = contextOf();
      present(context, await context.client.delete<KeyRow>(path('keys', id)), (row) => say(`${row.id} (${row.name}) is revoked`));
    });
}
