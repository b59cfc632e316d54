// What an answer has to keep to: response_format and its like as a grammar.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { Grammar } from './child/messages.ts';
import { anyObject, grammarOfChoice, grammarOfSchema } from './json-grammar.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The grammar that a request asks for, if any. `ofCall`: of the call of a tool that it wants. */
export function grammarOf(fields: Fields, ofCall: Grammar | undefined): { readonly text: Grammar | undefined } | Refusal {
  const asked = [...ofFormat(fields.response_format), ...ofStructured(fields.structured_outputs)];
  if (isSet(fields.guided_json)) asked.push({ schema: fields.guided_json });
  if (isSet(fields.json_schema)) asked.push({ schema: fields.json_schema });
  if (isSet(fields.guided_choice)) asked.push({ choice: fields.guided_choice });
  if (isSet(fields.guided_grammar)) asked.push({ grammar: fields.guided_grammar });
  if (isSet(fields.grammar)) asked.push({ grammar: fields.grammar });
  if (ofCall !== undefined) asked.push({ grammar: ofCall });
  if (asked.length === 0) return { text: undefined };
  if (asked.length > 1)
    return no('ask for one form of the answer only: response_format, one of the fields for guided decoding, or a tool that must be called');
  const [one] = asked as [Asked];
  if (one.problem) return no(one.problem);
  if ('object' in one) return { text: anyObject };
  if ('grammar' in one) return typeof one.grammar === 'string' ? { text: one.grammar } : no('grammar must be a text in GBNF');
  const made = 'choice' in one ? grammarOfChoice(one.choice) : grammarOfSchema(one.schema);
  return 'problem' in made ? no(made.problem) : { text: made.grammar };
}

interface Asked {
  readonly schema?: unknown;
  readonly choice?: unknown;
  readonly grammar?: unknown;
  readonly object?: true;
  readonly problem?: string;
}

function ofFormat(format: unknown): Asked[] {
  if (!isSet(format)) return [];
  const { type, json_schema: described } = (typeof format === 'object' ? format : {}) as { type?: unknown; json_schema?: { schema?: unknown } };
  if (type === 'text') return [];
  if (type === 'json_object') return [{ object: true }];
  if (type === 'json_schema')
    return described?.schema === undefined ? [{ problem: 'response_format.json_schema.schema is missing' }] : [{ schema: described.schema }];
  return [{ problem: 'response_format.type must be text, json_object or json_schema' }];
}

/** vLLM's newer field for the same. */
function ofStructured(structured: unknown): Asked[] {
  if (typeof structured !== 'object' || structured === null) return [];
  return Object.entries(structured)
    .filter(([, value]) => isSet(value))
    .map(([kind, value]): Asked => {
      if (kind === 'json') return { schema: typeof value === 'string' ? parsed(value) : value };
      if (kind === 'choice') return { choice: value };
      if (kind === 'grammar') return { grammar: value };
      if (kind === 'json_object') return { object: true };
      return { problem: `structured_outputs.${kind} is not supported by this engine: use json, choice or grammar` };
    });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function no(message: string): Refusal {
  return refusal('invalid_request', message);
}
