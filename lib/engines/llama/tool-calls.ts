// Calls of tools: how a model is made to give one, and how the text that it gives is told as one. What is said is a function
// of the whole text alone, so that an answer goes on elsewhere in the middle of a call.
import { showable } from '../../../core/engine/stop-strings.ts';
import { anyObject, grammarOfSchema } from './json-grammar.ts';

/** `forced`: by a grammar, nothing but one call. `marked`: when the model likes, between marks. */
export type ToolMode = 'none' | 'forced' | 'marked';

export interface ToolCall {
  readonly name: string;
  /** JSON, as far as it is known. */
  readonly argumentsText: string;
}

export interface ToolAnswer {
  /** Text that may be shown. */
  readonly content: string;
  readonly calls: readonly ToolCall[];
}

/** Marks of the form that Hermes, Qwen and many others use (NousResearch/Hermes-Function-Calling). */
export const callMark = '<tool_call>';
const markedCall = /<tool_call>\s*([\s\S]*?)\s*<\/tool_call>\s*/g;
/** As the grammar below writes it. */
const forcedCall = /^\{"name": "((?:[^"\\]|\\.)*)", "arguments": /;

interface Tool {
  readonly name: string;
  readonly parameters: unknown;
}

/** The functions that a request offers, or what is wrong with them. */
export function toolsOf(tools: readonly unknown[]): Tool[] | { readonly problem: string } {
  const read: Tool[] = [];
  for (const tool of tools) {
    const { type, function: described } = (tool ?? {}) as { type?: unknown; function?: { name?: unknown; parameters?: unknown } };
    if (type !== 'function') return { problem: 'tools must be of type function' };
    if (typeof described?.name !== 'string' || !/^[\w.-]{1,64}$/.test(described.name)) {
      return { problem: 'every tool needs a name of 1 to 64 letters, digits, dots, dashes and underscores' };
    }
    read.push({ name: described.name, parameters: described.parameters });
  }
  return read;
}

/** A call of one of the tools, and nothing else. */
export function grammarOfCalls(tools: readonly Tool[]): { readonly grammar: string } | { readonly problem: string } {
  const rules: string[] = [];
  for (const [index, { name, parameters }] of tools.entries()) {
    const made = parameters === undefined || parameters === null ? { grammar: anyObject } : grammarOfSchema(parameters);
    if ('problem' in made) return { problem: `parameters of ${name}: ${made.problem}` };
    rules.push(...renamed(made.grammar, `t${index}`));
  }
  const calls = tools.map(({ name }, index) => `"{\\"name\\": \\"${name}\\", \\"arguments\\": " t${index}root "}"`);
  return { grammar: [`root ::= ${calls.join(' | ')}`, ...rules].join('\n') };
}

/** What an answer so far says. `ended`: nothing comes any more. */
export function readAnswer(mode: ToolMode, text: string, ended: boolean): ToolAnswer {
  if (mode === 'none') return { content: text, calls: [] };
  return mode === 'forced' ? readForced(text, ended) : readMarked(text, ended);
}

function readForced(text: string, ended: boolean): ToolAnswer {
  const head = forcedCall.exec(text);
  if (!head) return { content: ended ? text : '', calls: [] };
  const rest = text.slice(head[0].length);
  // The last bracket closes the call, not its arguments; which one is the last is known at the end.
  const argumentsText = ended && isJson(text) ? rest.slice(0, -1) : rest.replace(/[\s}]*$/, '');
  return { content: '', calls: [{ name: head[1]!, argumentsText }] };
}

function readMarked(text: string, ended: boolean): ToolAnswer {
  const calls: ToolCall[] = [];
  let content = '';
  let from = 0;
  for (const { index, 0: whole, 1: inside = '' } of text.matchAll(markedCall)) {
    const call = callOf(inside);
    if (!call) continue;
    content += text.slice(from, index);
    from = index + whole.length;
    calls.push(call);
  }
  const rest = text.slice(from);
  // A mark that is not complete, or a call, is not shown, unless it never becomes one.
  content += ended ? rest : rest.slice(0, showable(rest, [callMark]).length);
  // Blanks before a mark are not part of the answer.
  return { content: ended && calls.length === 0 ? content : content.trimEnd(), calls };
}

function callOf(text: string): ToolCall | undefined {
  try {
    const { name, arguments: given } = JSON.parse(text) as { name?: unknown; arguments?: unknown };
    return typeof name === 'string' ? { name, argumentsText: typeof given === 'string' ? given : JSON.stringify(given ?? {}) } : undefined;
  } catch {
    return undefined;
  }
}

/** Rules of one grammar under names of their own. */
function renamed(grammar: string, prefix: string): string[] {
  const names = new Set(grammar.split('\n').map((line) => line.split(' ::= ')[0]!));
  // Literals and sets of characters stay; words between them are names.
  return grammar
    .split('\n')
    .map((line) => line.replace(/"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[A-Za-z][A-Za-z0-9]*/g, (word) => (names.has(word) ? prefix + word : word)));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
