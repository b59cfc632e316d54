// Carries out what the instance actor wants, one function per effect.

import { toRefusal } from '../../core/errors/switchyard-error.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { InstanceEffect, InstanceMessage } from './actor.ts';
import type { GenerateSpans } from './generate-spans.ts';
import type { HandOffs } from './hand-offs.ts';
import type { Instances } from './instances.ts';
import type { Links } from './links.ts';
import type { Orphans } from './orphans.ts';
import { cannotOpen } from './refused-stream.ts';

export interface EffectContext {
  readonly instances: () => Instances;
  readonly links: () => Links;
  readonly spans: GenerateSpans;
  readonly orphans: Orphans;
  readonly handOffs: () => HandOffs;
  readonly telemetry: Telemetry;
  readonly tell: (instanceId: string, message: InstanceMessage) => void;
}

type Effect<T extends InstanceEffect['type']> = Extract<InstanceEffect, { type: T }>;

export function createEffects(context: EffectContext) {
  const { spans, tell, telemetry } = context;
  const opens = telemetry.counter('switchyard_engine_opens_total');
  const probes = telemetry.counter('switchyard_engine_probes_total');

  function engineOpen(instanceId: string, { link, open }: Effect<'engine_open'>): void {
    const hosted = context.instances().get(instanceId);
    if (!hosted) return;
    spans.begin(open, { pool: hosted.pool, model: hosted.model, engine: hosted.adapter.engine });
    const { stream: _stream, instanceId: _instanceId, ...request } = open;
    const refused = hosted.adapter.open(request, context.links().isHeld(link));
    opens.add(1, { pool: hosted.pool, instance_id: instanceId, result: refused?.code ?? 'taken' });
    if (refused) {
      const events = [cannotOpen(open, refused)];
      spans.spoken(events);
      tell(instanceId, { type: 'events', events });
    }
  }

  async function probe(instanceId: string): Promise<void> {
    const hosted = context.instances().get(instanceId);
    if (!hosted) return;
    const error = await hosted.adapter.probe().catch((thrown: unknown) => toRefusal(thrown));
    probes.add(1, { pool: hosted.pool, instance_id: instanceId, result: error?.code ?? 'well' });
    if (context.instances().get(instanceId) === hosted) tell(instanceId, { type: 'probed', error });
  }

  function orphaned(instanceId: string, { streams }: Effect<'orphaned'>): void {
    const hosted = context.instances().get(instanceId);
    if (hosted) context.orphans.take(hosted, streams, hosted.adapter.status().sequences);
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
      case 'orphaned':
        orphaned(instanceId, effect);
        return;
      case 'hand_off':
        context.handOffs().begin(instanceId, effect.job);
        return;
      case 'probe':
        void probe(instanceId);
        return;
      case 'set_aside':
        if (effect.aside) telemetry.log.warn('engine set aside', { instance: instanceId, code: effect.aside.code, error: effect.aside.message });
        else telemetry.log.info('engine gets requests again', { instance: instanceId });
        return;
      case 'report':
        context.instances().get(instanceId)?.reporter.soon();
        return;
    }
  };
}
