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

/** Plans again what a lost connection had not delivered, over the surviving ones. Pieces keep their bytes; only the cuts are new. */
export function replanTransfer(undelivered: readonly Flow[], rates: readonly number[], quantum = 4): PlannedPiece[] {
  return layEndToEnd(
    undelivered.map(({ block, offset, bytes }) => ({ block, offset, bytes })),
    rates,
    quantum,
  );
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
