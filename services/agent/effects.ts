// Carries out what the instance actor wants, one function per effect.

import type { InstanceEffect, InstanceMessage } from './actor.ts';
import type { GenerateSpans } from './generate-spans.ts';
import type { Instances } from './instances.ts';
import type { Links } from './links.ts';
import { cannotOpen } from './refused-stream.ts';

export interface EffectContext {
  readonly instances: () => Instances;
  readonly links: () => Links;
  readonly spans: GenerateSpans;
  readonly tell: (instanceId: string, message: InstanceMessage) => void;
}

type Effect<T extends InstanceEffect['type']> = Extract<InstanceEffect, { type: T }>;

export function createEffects(context: EffectContext) {
  const { spans, tell } = context;

  function engineOpen(instanceId: string, { link, open }: Effect<'engine_open'>): void {
    const hosted = context.instances().get(instanceId);
    if (!hosted) return;
    spans.begin(open, { pool: hosted.pool, model: hosted.model, engine: hosted.adapter.engine });
    const { stream: _stream, instanceId: _instanceId, ...request } = open;
    const refused = hosted.adapter.open(request, context.links().isHeld(link));
    if (refused) {
      const events = [cannotOpen(open, refused)];
      spans.spoken(events);
      tell(instanceId, { type: 'events', events });
    }
  }

  return function perform(instanceId: string, effect: InstanceEffect): void {
    switch (effect.type) {
      case 'engine_open':
        engineOpen(instanceId, effect);
        return;
      case 'engine_cancel':
        context.instances().get(instanceId)?.adapter.cancel(effect.requestId, effect.epoch);
        return;
      case 'send':
        context.links().send(effect.link, instanceId, effect.events);
        return;
      case 'ended':
        spans.end(effect.requestId, effect.epoch, effect.why);
        return;
      case 'report':
        context.instances().get(instanceId)?.reporter.soon();
        return;
    }
  };
}
