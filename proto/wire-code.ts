// Writes the code of gen/wire.js: for each message a function that writes a plain object and one that reads it. Straight to
// and from plain objects with every field in its place from the start, which takes less than half the time of going
// through message classes, as protobufjs's own static code does; bytes are its reader's and writer's business.
import protobuf from 'protobufjs';

const wireTypes: Record<string, number> = { string: 2, bytes: 2, bool: 0, double: 1, uint32: 0, int32: 0, fixed32: 5 };
const defaults: Record<string, string> = { string: `''`, bytes: 'noBytes', bool: 'false', double: '0', uint32: '0', int32: '0', fixed32: '0' };

const begin = `import protobuf from 'protobufjs/minimal.js';

const noBytes = protobuf.util.newBuffer([]);

/** Reads what has its length before it; reading beyond that fails. */
function nested(reader, read, target) {
  const length = reader.size();
  const { len } = reader;
  const end = reader.pos + length;
  if (end > len) throw new RangeError('index out of range');
  reader.len = end;
  const message = read(reader, target);
  reader.len = len;
  return message;
}
`;

const nameOf = (type: protobuf.Type) => type.fullName.slice(1).replaceAll('.', '_');
const messageOf = (field: protobuf.Field) => (field.resolvedType instanceof protobuf.Type ? field.resolvedType : undefined);
const isPacked = (field: protobuf.Field) => field.repeated && !messageOf(field) && wireTypes[field.type] !== 2;
const tagOf = (field: protobuf.Field, wireType: number) => ((field.id << 3) | wireType) >>> 0;

function writeField(field: protobuf.Field): string[] {
  const value = `message.${field.name}`;
  const type = messageOf(field);
  const tag = tagOf(field, type || isPacked(field) ? 2 : wireTypes[field.type]!);
  const write = (item: string) =>
    type ? `write_${nameOf(type)}(writer.uint32(${tag}).fork(), ${item}).ldelim();` : `writer.uint32(${tag}).${field.type}(${item});`;
  if (isPacked(field)) return [`  if (${value} != null && ${value}.length > 0) writer.uint32(${tag}).${field.type}s(${value});`];
  if (field.repeated) return [`  if (${value} != null) for (let k = 0; k < ${value}.length; k++) ${write(`${value}[k]`)}`];
  if (type) return [`  if (${value} != null) ${write(value)}`];
  const isSet = field.type === 'bytes' ? `${value}.length > 0` : `${value} !== ${defaults[field.type]}`;
  return [`  if (${value} != null && ${isSet}) ${write(value)}`];
}

function readField(field: protobuf.Field): string[] {
  const target = `message.${field.name}`;
  const type = messageOf(field);
  const into = (value: string) => (field.repeated ? `${target}.push(${value})` : `${target} = ${value}`);
  if (type)
    return [
      `      case ${tagOf(field, 2)}:`,
      `        ${into(`nested(reader, read_${nameOf(type)}${field.repeated ? '' : `, ${target}`})`)};`,
      '        break;',
    ];
  const one = `reader.${field.type === 'string' ? 'stringVerify' : field.type}()`;
  const lines = [`      case ${tagOf(field, wireTypes[field.type]!)}:`, `        ${into(one)};`, '        break;'];
  return isPacked(field) ? [`      case ${tagOf(field, 2)}:`, `        reader.${field.type}s(${target});`, '        break;', ...lines] : lines;
}

function initial(field: protobuf.Field): string {
  if (field.repeated) return '[]';
  // Which of several is there is told by which is not undefined.
  if (field.partOf) return 'undefined';
  return messageOf(field) ? 'null' : defaults[field.type]!;
}

function codeOf(type: protobuf.Type): string {
  const fields = type.fieldsArray;
  return [
    `export function write_${nameOf(type)}(writer, message) {`,
    ...fields.flatMap(writeField),
    '  return writer;',
    '}',
    '',
    `export function read_${nameOf(type)}(reader, target) {`,
    `  const message = target ?? { ${fields.map((field) => `${field.name}: ${initial(field)}`).join(', ')} };`,
    '  while (reader.pos < reader.len) {',
    '    const tag = reader.tag();',
    '    switch (tag) {',
    ...fields.flatMap(readField),
    '      default:',
    '        reader.skipType(tag & 7, 0, tag >>> 3);',
    '    }',
    '  }',
    '  return message;',
    '}',
    '',
  ].join('\n');
}

/** @throws Error when a message may hold one of its own kind: reading has no limit of depth */
function assertNotNestedInItself(type: protobuf.Type, within: readonly protobuf.Type[] = []): void {
  if (within.includes(type)) throw new Error(`${type.fullName} may hold one of its own kind: reading has no limit of depth`);
  for (const field of type.fieldsArray) {
    const inner = messageOf(field);
    if (inner) assertNotNestedInItself(inner, [...within, type]);
  }
}

/** The text of a module with `write_<type>` and `read_<type>` for each. Types and their fields are resolved. */
export function wireCode(types: readonly protobuf.Type[]): string {
  for (const type of types) assertNotNestedInItself(type);
  return [begin, ...types.map(codeOf)].join('\n');
}

/** What a message's two functions are called. */
export const functionsOf = (type: protobuf.Type) => ({ write: `write_${nameOf(type)}`, read: `read_${nameOf(type)}` });
