// One `npm start` with real servers: reads the fleet, starts the supervisor and says what is where.
import { relative } from 'node:path';
import { rootKeyToShow } from './credentials.ts';
import { guideText } from './guide.ts';
import { commandOf } from './listening-port.ts';
import type { Progress } from './progress.ts';
import { defaultStateFolder, leftBehind } from './run-file.ts';
import type { StartSettings } from './settings.ts';
import { createSupervisor } from './supervisor.ts';

export interface Started {
  /** The text to print when everything is ready. */
  readonly ready: Promise<string>;
  stop(say: (text: string) => void): Promise<void>;
  kill(): void;
}

export function startLocal(settings: StartSettings, progress: Progress): Started {
  endLeftBehind(settings, progress);
  const supervisor = createSupervisor(settings, progress);
  return {
    ready: supervisor.start().then(({ run, tracing, instances, fleet }) =>
      guideText({
        run,
        fleet,
        instances: instances.map((one) => one.id),
        rootKey: rootKeyToShow(settings),
        tracing: tracing.kind === 'ui' ? `${tracing.ui.url}  (${tracing.ui.name}, up within ten seconds)` : tracingText(tracing),
        findable: settings.stateFolder === defaultStateFolder,
        logs: `${relative(settings.root, settings.stateFolder) || settings.stateFolder}/logs`,
      }),
    ),
    stop: supervisor.stop,
    kill: supervisor.kill,
  };
}

function tracingText(choice: { kind: 'given' } | { kind: 'none' }): string {
  return choice.kind === 'given' ? 'as OTEL_* in the environment says' : 'none (see above)';
}

/** Servers of an earlier run that ended so hard that nobody could stop them would hold the ports and the files. */
function endLeftBehind(settings: StartSettings, progress: Progress): void {
  for (const { id, pid } of leftBehind(settings.stateFolder)) {
    progress.say(`  ending ${id} (process ${pid}: ${commandOf(pid)?.slice(0, 60)}), left behind by an earlier run`);
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}
