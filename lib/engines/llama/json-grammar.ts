// JSON Schema as a grammar in GBNF (grammars/README.md of ggml-org/llama.cpp). Written here although the engine's package
// has a converter: that one leaves `required`, `anyOf` and whatever it does not know out in silence, and wants four line
// breaks behind the answer. A keyword that is not kept here is named, and the request refused.

/** A grammar, or what to change in the schema. */
export type Made = { readonly grammar: string } | { readonly problem: string };

/** Rules of JSON itself. Space is kept short: a model that may go on with blanks does. */
const jsonRules = [
  'ws ::= ([ \\n] [ \\n]?)?',
  'string ::= "\\"" char* "\\""',
  'char ::= [^"\\\\\\x7F\\x00-\\x1F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])',
  'integer ::= "-"? ("0" | [1-9] [0-9]{0,15})',
  'number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
  'boolean ::= "true" | "false"',
  'null ::= "null"',
  'value ::= object | array | string | number | boolean | null',
  'object ::= "{" ws (string ":" ws value (ws "," ws string ":" ws value)*)? ws "}"',
  'array ::= "[" ws (value (ws "," ws value)*)? ws "]"',
];

/** Any JSON object. */
export const anyObject = ['root ::= object', ...jsonRules].join('\n');

/** Keywords that say nothing about the form. */
const annotations = new Set([
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'strict',
]);
const keptKeywords = new Set([
  'type',
  'properties',
  'required',
  'additionalProperties',
  'enum',
  'const',
  'anyOf',
  'oneOf',
  '$ref',
  'items',
  'minItems',
  'maxItems',
  'minLength',
  'maxLength',
]);
/** Nested schemas of one request. */
const maxRules = 500;
/** Longest list or text that a limit may ask for. */
const maxCount = 1000;

type Schema = Readonly<Record<string, unknown>>;

class Unsupported extends Error {}

export function grammarOfSchema(schema: unknown): Made {
  try {
    const grammar = new SchemaGrammar(schema);
    const root = grammar.expression(schema, '');
    return { grammar: [`root ::= ${root}`, ...grammar.rules, ...jsonRules].join('\n') };
  } catch (thrown) {
    if (thrown instanceof Unsupported) return { problem: thrown.message };
    throw thrown;
  }
}

/** One of some texts, as it is. */
export function grammarOfChoice(choice: unknown): Made {
  if (!Array.isArray(choice) || choice.length === 0 || choice.length > maxRules || !choice.every((text) => typeof text === 'string' && text !== '')) {
    return { problem: `a choice must be a list of 1 to ${maxRules} texts` };
  }
  return { grammar: `root ::= ${choice.map(literal).join(' | ')}` };
}

class SchemaGrammar {
  readonly rules: string[] = [];
  readonly #root: unknown;
  readonly #named = new Map<string, string>();

  constructor(root: unknown) {
    this.#root = root;
  }

  /** `where`: path within the schema, for messages. */
  expression(schema: unknown, where: string): string {
    if (schema === true) return 'value';
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) throw new Unsupported(`the schema${where} must be an object`);
    const fields = schema as Schema;
    for (const keyword of Object.keys(fields)) {
      if (!keptKeywords.has(keyword) && !annotations.has(keyword))
        throw new Unsupported(`this engine does not keep to ${keyword} in a schema${where}: leave it out`);
    }
    if (fields.$ref !== undefined) return this.#reference(String(fields.$ref), where);
    const alternatives = fields.anyOf ?? fields.oneOf;
    if (alternatives !== undefined) {
      if (!Array.isArray(alternatives) || alternatives.length === 0) throw new Unsupported(`anyOf${where} must be a list`);
      return this.#rule(alternatives.map((one, index) => this.expression(one, `${where}/anyOf/${index}`)).join(' | '));
    }
    if (fields.const !== undefined) return literal(JSON.stringify(fields.const));
    if (fields.enum !== undefined) {
      if (!Array.isArray(fields.enum) || fields.enum.length === 0) throw new Unsupported(`enum${where} must be a list`);
      return this.#rule(fields.enum.map((value) => literal(JSON.stringify(value))).join(' | '));
    }
    const types: readonly unknown[] = Array.isArray(fields.type)
      ? fields.type
      : [fields.type ?? (fields.properties ? 'object' : fields.items ? 'array' : undefined)];
    const parts = types.map((type) => this.#typed(type, fields, where));
    return parts.length === 1 ? parts[0]! : this.#rule(parts.join(' | '));
  }

  #typed(type: unknown, fields: Schema, where: string): string {
    switch (type) {
      case undefined:
        return 'value';
      case 'object':
        return this.#object(fields, where);
      case 'array':
        return this.#array(fields, where);
      case 'string': {
        if (fields.minLength === undefined && fields.maxLength === undefined) return 'string';
        return this.#rule(`"\\"" char${times(fields.minLength, fields.maxLength, where)} "\\""`);
      }
      case 'number':
      case 'integer':
      case 'boolean':
      case 'null':
        return type;
      default:
        throw new Unsupported(`type${where} must be one of object, array, string, number, integer, boolean, null`);
    }
  }

  #object(fields: Schema, where: string): string {
    const properties = Object.entries((fields.properties ?? {}) as Schema);
    const required = new Set(Array.isArray(fields.required) ? fields.required : []);
    const unknown = [...required].find((name) => !properties.some(([known]) => known === name));
    if (unknown !== undefined) throw new Unsupported(`required${where} names ${String(unknown)}, which properties does not`);
    const extra = fields.additionalProperties;
    if (properties.length === 0) {
      if (extra === false) return this.#rule('"{" ws "}"');
      const value = extra === undefined || extra === true ? 'value' : this.expression(extra, `${where}/additionalProperties`);
      return this.#rule(`"{" ws (string ":" ws ${value} (ws "," ws string ":" ws ${value})*)? ws "}"`);
    }
    // Other properties than those named are allowed by the schema and never needed: the answer has none.
    const pairs = properties.map(([name, value]) => ({
      text: `${literal(JSON.stringify(name))} ":" ws ${this.expression(value, `${where}/${name}`)}`,
      isRequired: required.has(name),
    }));
    return this.#rule(`"{" ws ${this.#members(pairs)} ws "}"`);
  }

  /** In the order of the schema. What follows a member begins with a comma; before the first one of those present there is none. */
  #members(pairs: readonly { text: string; isRequired: boolean }[]): string {
    let after = '""';
    let fromHere = '""';
    for (const { text, isRequired } of pairs.toReversed()) {
      const first = `${text} ${after}`;
      fromHere = this.#rule(isRequired ? first : `${first} | ${fromHere}`);
      const next = `ws "," ws ${text} ${after}`;
      after = this.#rule(isRequired ? next : `${next} | ${after}`);
    }
    return fromHere;
  }

  #array(fields: Schema, where: string): string {
    const item = fields.items === undefined ? 'value' : this.expression(fields.items, `${where}/items`);
    const least = count(fields.minItems, 0, `minItems${where}`);
    const most = fields.maxItems === undefined ? undefined : count(fields.maxItems, 0, `maxItems${where}`);
    if (most === 0) return this.#rule('"[" ws "]"');
    if (most !== undefined && most < least) throw new Unsupported(`maxItems${where} is below minItems`);
    const rest = `(ws "," ws ${item})${repeat(Math.max(0, least - 1), most === undefined ? undefined : most - 1)}`;
    return this.#rule(least === 0 ? `"[" ws (${item} ${rest})? ws "]"` : `"[" ws ${item} ${rest} ws "]"`);
  }

  #reference(reference: string, where: string): string {
    const known = this.#named.get(reference);
    if (known) return known;
    if (reference !== '#' && !reference.startsWith('#/')) throw new Unsupported(`$ref${where} must point into the schema itself`);
    let target: unknown = this.#root;
    for (const key of reference.split('/').slice(1)) target = (target as Schema | undefined)?.[key.replaceAll('~1', '/').replaceAll('~0', '~')];
    if (target === undefined) throw new Unsupported(`$ref${where} points to ${reference}, where nothing is`);
    const name = `ref${this.#named.size}`;
    this.#named.set(reference, name);
    const expression = this.expression(target, ` at ${reference}`);
    this.rules.push(`${name} ::= ${expression}`);
    return name;
  }

  #rule(expression: string): string {
    if (this.rules.length >= maxRules) throw new Unsupported(`the schema has more than ${maxRules} parts`);
    const name = `r${this.rules.length}`;
    this.rules.push(`${name} ::= ${expression}`);
    return name;
  }
}

function times(least: unknown, most: unknown, where: string): string {
  const from = count(least, 0, `minLength${where}`);
  const to = most === undefined ? undefined : count(most, 0, `maxLength${where}`);
  if (to !== undefined && to < from) throw new Unsupported(`maxLength${where} is below minLength`);
  return repeat(from, to);
}

function repeat(least: number, most: number | undefined): string {
  return most === undefined ? (least === 0 ? '*' : `{${least},}`) : `{${least},${most}}`;
}

function count(value: unknown, otherwise: number, what: string): number {
  if (value === undefined) return otherwise;
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > maxCount)
    throw new Unsupported(`${what} must be an integer from 0 to ${maxCount}`);
  return value as number;
}

/** A text as a literal of the grammar. */
function literal(text: string): string {
  return `"${Array.from(text, escaped).join('')}"`;
}

function escaped(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`;
  return character < ' ' ? `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}` : character;
}
