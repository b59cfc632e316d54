// Finding the workflows of a request, an instance or a pool: by Temporal's search attributes where its server has them, and
// otherwise by what is kept with each workflow as its memo. Runs inside the sandbox too.
import type { SearchAttributePair } from '@temporalio/common';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { WorkflowFilter } from '../ports/workflows.ts';
import type { WorkflowFacts } from './workflow-summary.ts';

/** Names in Temporal, and their types there: what `npm start` and the composition tell the development server at its start. */
export const searchAttributeTypes = {
  SwitchyardRequest: 'Keyword',
  SwitchyardPool: 'Keyword',
  SwitchyardInstances: 'KeywordList',
} as const;

export type SearchAttributeName = keyof typeof searchAttributeTypes;

/** Those of a workflow. */
export function searchAttributes(facts: WorkflowFacts): SearchAttributePair[] {
  const instances = instancesOf(facts);
  const keyword = (name: SearchAttributeName, value: string | number | undefined): SearchAttributePair[] =>
    value === undefined ? [] : [{ key: { name, type: 'KEYWORD' }, value: String(value) }];
  return [
    ...keyword('SwitchyardRequest', facts.request),
    ...keyword('SwitchyardPool', facts.pool),
    ...(instances.length === 0 ? [] : [{ key: { name: 'SwitchyardInstances', type: 'KEYWORD_LIST' }, value: instances } as const]),
  ];
}

export function isAbout(facts: WorkflowFacts, { request, pool, instance }: WorkflowFilter): boolean {
  if (request !== undefined && facts.request !== request) return false;
  if (pool !== undefined && facts.pool !== pool) return false;
  return instance === undefined || instancesOf(facts).includes(instance);
}

/** A list filter of Temporal. @throws SwitchyardError `invalid_request` for what is no id */
export function listQuery({ name, running, request, pool, instance }: WorkflowFilter, searchable: boolean): string {
  const terms: string[] = [];
  if (name !== undefined) terms.push(`WorkflowType = ${quoted(name)}`);
  if (running !== undefined) terms.push(`ExecutionStatus ${running ? '=' : '!='} 'Running'`);
  const about: Readonly<Record<SearchAttributeName, string | undefined>> = {
    SwitchyardRequest: request,
    SwitchyardPool: pool,
    SwitchyardInstances: instance,
  };
  for (const [attribute, value] of Object.entries(about)) if (searchable && value !== undefined) terms.push(`${attribute} = ${quoted(value)}`);
  return terms.join(' AND ');
}

function instancesOf({ instance, source, target, instances }: WorkflowFacts): string[] {
  const listed = typeof instances === 'string' && instances !== '' ? instances.split(' ') : [];
  return [...new Set([instance, source, target].flatMap((id) => (id === undefined ? [] : String(id))).concat(listed))];
}

function quoted(value: string): string {
  if (!/^[\w.:@-]{1,256}$/.test(value)) throw new SwitchyardError('invalid_request', 'an id has 1 to 256 letters, digits and . _ : @ -');
  return `'${value}'`;
}
