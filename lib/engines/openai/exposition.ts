// Samples out of a Prometheus text, by whole names: a name may begin like another one.

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export type Samples = ReadonlyMap<string, readonly Sample[]>;

const line = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)/;
const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/** Only these names are looked at. */
export function readSamples(text: string, names: ReadonlySet<string>): Samples {
  const samples = new Map<string, Sample[]>();
  for (const row of text.split('\n')) {
    if (row === '' || row.startsWith('#')) continue;
    const name = row.slice(0, row.search(/[{\s]/));
    if (!names.has(name)) continue;
    const found = line.exec(row);
    const value = Number(found?.[3]);
    if (!found || Number.isNaN(value)) continue;
    const labels: Record<string, string> = {};
    for (const [, key, text] of (found[2] ?? '').matchAll(label)) labels[key!] = text!.replace(/\\(["\\])/g, '$1');
    const known = samples.get(name);
    if (known) known.push({ labels, value });
    else samples.set(name, [{ labels, value }]);
  }
  return samples;
}

/** Of all that carry the name, one for each engine behind the server. Undefined: there is none. */
export function sumOf(samples: Samples, name: string): number | undefined {
  return samples.get(name)?.reduce((sum, { value }) => sum + value, 0);
}

export function meanOf(samples: Samples, name: string): number | undefined {
  const sum = sumOf(samples, name);
  return sum === undefined ? undefined : sum / samples.get(name)!.length;
}
