// From a chat, or a text, to the tokens of a prompt.
import type { PromptSource } from './messages.ts';
import type { ChatTemplate, Model } from './package.ts';

/** @throws Error whose message says what is wrong with the request */
export function promptTokens(model: Model, template: ChatTemplate | undefined, source: PromptSource): number[] {
  const text = source.kind === 'text' ? source.text : chatText(model, template, source);
  const tokens = model.tokenize(text, true);
  const { bos, shouldPrependBosToken } = model.tokens;
  return shouldPrependBosToken && bos !== null && tokens[0] !== bos ? [bos, ...tokens] : tokens;
}

function chatText(model: Model, template: ChatTemplate | undefined, source: Extract<PromptSource, { kind: 'chat' }>): string {
  if (!template) throw new Error('this model has no chat template: ask it at /v1/completions');
  let text: string;
  try {
    text = template.render({
      ...source.template,
      messages: source.messages,
      add_generation_prompt: !source.continues,
      bos_token: model.tokens.bosString ?? '',
      eos_token: model.tokens.eosString ?? '',
    });
  } catch (thrown) {
    throw new Error(`the model's chat template does not take these messages: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  return source.continues ? openEnded(text, source.messages) : text;
}

/** Without what the template puts behind the last message, which is to be continued. */
export function openEnded(text: string, messages: readonly unknown[]): string {
  const last = messages.at(-1) as { content?: unknown } | undefined;
  const content = typeof last?.content === 'string' ? last.content : '';
  for (const words of [content, content.trim()]) {
    const at = text.lastIndexOf(words);
    if (at >= 0) return text.slice(0, at + words.length);
  }
  throw new Error("the model's chat template changes the last message: it cannot be continued");
}
