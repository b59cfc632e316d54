// How often things are done. `npm run probes` takes medians of several rounds and judges times; within `npm test`, on a
// machine that is busy with other things, one round shows that it works at all.

export interface Form {
  readonly judgesTimes: boolean;
  /** Answers that engines are made to give, one after the other. */
  readonly broken: readonly number[];
  readonly refusing: readonly number[];
  /** Kills, and recoveries. */
  readonly rounds: number;
  /** Requests of a probe that only looks at answers. */
  readonly requests: number;
  /** Single requests that are timed. */
  readonly timed: number;
  readonly load: number;
}

export const form: Form =
  process.env.SWITCHYARD_PROBES === 'full'
    ? { judgesTimes: true, broken: [500, 503], refusing: [429, 503], rounds: 5, requests: 200, timed: 60, load: 6_000 }
    : { judgesTimes: false, broken: [500], refusing: [429], rounds: 1, requests: 60, timed: 5, load: 600 };
