// A terminal that is drawn on frame by frame: on a screen of its own, without flicker, and left as it was found.

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  draw(lines: readonly string[]): void;
  /** Resolves when the viewer wants to leave: q, Escape, Ctrl-C or Ctrl-D. */
  readonly left: Promise<void>;
  close(): void;
}

const control = '\u001b[';
const otherScreen = { on: `${control}?1049h${control}?25l`, off: `${control}?25h${control}?1049l` };
/** Terminals that know it show the frame at once; others ignore it. */
const atOnce = { on: `${control}?2026h`, off: `${control}?2026l` };
const home = `${control}H`;
const clearLine = `${control}K`;
const clearBelow = `${control}J`;
const leaveKeys = new Set(['q', 'Q', '\u0003', '\u0004', '\u001b']);

/** `resized` is called when the terminal has another size. */
export function openScreen(input: NodeJS.ReadStream, output: NodeJS.WriteStream, resized: () => void): Screen {
  let leave = () => {};
  const left = new Promise<void>((resolve) => {
    leave = resolve;
  });
  const pressed = (key: Buffer) => {
    if (leaveKeys.has(key.toString())) leave();
  };
  const restore = () => output.write(otherScreen.off);
  output.write(otherScreen.on);
  output.on('resize', resized);
  if (input.isTTY) input.setRawMode(true);
  input.on('data', pressed);
  input.resume();
  process.once('exit', restore);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, leave);

  return {
    get columns() {
      return output.columns || 80;
    },
    get rows() {
      return output.rows || 24;
    },
    left,
    draw(lines) {
      const text = lines.map((line) => line + clearLine).join('\r\n');
      output.write(atOnce.on + home + text + clearBelow + atOnce.off);
    },
    close() {
      output.off('resize', resized);
      input.off('data', pressed);
      if (input.isTTY) input.setRawMode(false);
      input.pause();
      process.off('exit', restore);
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, leave);
      restore();
    },
  };
}
