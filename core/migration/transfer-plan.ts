// Splits the blocks of a transfer over parallel connections so that all finish together with the fewest cuts: every
// connection gets whole blocks as far as its share goes, and the rest is laid end to end and cut at the shares' borders.
// Shares follow the connections' rates. With equal rates n blocks over s connections need at most s - gcd(n mod s, s)
// cuts more than whole blocks would.

export interface Flow {
  /** Index of the block within its sequence. */
  readonly block: number;
  readonly offset: number;
  readonly bytes: number;
}

export interface PlannedPiece extends Flow {
  /** Index into the rates. */
  readonly connection: number;
}

/**
 * Plans equal blocks. `rates` are relative speeds, all above 0. `quantum` bytes is the finest cut within a block.
 * Every byte is covered once; no connection carries more than its share plus one quantum for each border that was rounded.
 */
export function planTransfer(blocks: readonly number[], blockBytes: number, rates: readonly number[], quantum = 4): PlannedPiece[] {
  const pieces: PlannedPiece[] = [];
  const total = rates.reduce((sum, rate) => sum + rate, 0);
  const shares = rates.map((rate) => (blocks.length * rate) / total);
  let next = 0;
  shares.forEach((share, connection) => {
    for (let whole = Math.floor(share + 1e-9); whole > 0 && next < blocks.length; whole--) {
      pieces.push({ block: blocks[next++]!, offset: 0, bytes: blockBytes, connection });
    }
  });
  const rest = blocks.slice(next).map((block) => ({ block, offset: 0, bytes: blockBytes }));
  const wants = shares.map((share) => Math.max(0, share - Math.floor(share + 1e-9)));
  pieces.push(...layEndToEnd(rest, wants, quantum));
  return pieces;
}

/** Bytes that a connection sends at a time; half a queue is taken over only when that is worth a cut. */
export interface PieceSizes {
  readonly most: number;
  readonly leastTakenOver: number;
}

/**
 * What a connection sends next, taken out of its queue. An empty queue takes over the second half of the fullest one before:
 * whatever the speeds turn out to be, all end together, for a few cuts more. Undefined: nothing is left for it.
 */
export function takePiece(queues: readonly Flow[][], connection: number, sizes: PieceSizes, quantum = 4): Flow | undefined {
  const own = queues[connection]!;
  if (own.length === 0) own.push(...takeHalf(queues, sizes.leastTakenOver, quantum));
  const first = own[0];
  if (!first) return undefined;
  if (first.bytes <= sizes.most) return own.shift();
  own[0] = { block: first.block, offset: first.offset + sizes.most, bytes: first.bytes - sizes.most };
  return { block: first.block, offset: first.offset, bytes: sizes.most };
}

function takeHalf(queues: readonly Flow[][], least: number, quantum: number): Flow[] {
  let fullest: Flow[] = [];
  let bytes = 0;
  for (const queue of queues) {
    const inQueue = queue.reduce((sum, flow) => sum + flow.bytes, 0);
    if (inQueue > bytes) [fullest, bytes] = [queue, inQueue];
  }
  if (bytes < 2 * least) return [];
  const halves = layEndToEnd(fullest, [1, 1], quantum);
  const of = (half: number) => halves.filter(({ connection }) => connection === half).map(flowOf);
  fullest.splice(0, fullest.length, ...of(0));
  return of(1);
}

function flowOf({ block, offset, bytes }: Flow): Flow {
  return { block, offset, bytes };
}

/** Cuts a row of flows at borders that are proportional to `weights`, rounded to the quantum. */
function layEndToEnd(flows: readonly Flow[], weights: readonly number[], quantum: number): PlannedPiece[] {
  const pieces: PlannedPiece[] = [];
  const bytes = flows.reduce((sum, flow) => sum + flow.bytes, 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (bytes === 0) return pieces;
  const lastUseful = weights.findLastIndex((weight) => weight > 1e-9);
  let flow = 0;
  let within = 0;
  let laid = 0;
  let weightSoFar = 0;
  weights.forEach((weight, connection) => {
    weightSoFar += weight;
    const border = connection >= lastUseful ? bytes : Math.round((bytes * weightSoFar) / total / quantum) * quantum;
    while (laid < border && flow < flows.length) {
      const current = flows[flow]!;
      const take = Math.min(current.bytes - within, border - laid);
      pieces.push({ block: current.block, offset: current.offset + within, bytes: take, connection });
      laid += take;
      within += take;
      if (within === current.bytes) {
        flow++;
        within = 0;
      }
    }
  });
  return pieces;
}
