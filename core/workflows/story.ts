// What a workflow has done so far, in sentences with times, for people who look at it while it runs or afterwards.

/** Older lines give way, apart from the first. */
const maxLines = 50;

/** The query that every workflow answers with its story: a markdown list. */
export const storyQuery = 'story';

export interface Story {
  tell(line: string): void;
  /** A markdown list, oldest first. */
  text(): string;
}

/** @param now Unix milliseconds; the story's times count from its first line */
export function createStory(now: () => number): Story {
  const lines: string[] = [];
  let startedMs: number | undefined;
  let left = 0;
  return {
    tell(line) {
      startedMs ??= now();
      lines.push(`- ${elapsed(now() - startedMs)}: ${line}`);
      if (lines.length <= maxLines) return;
      lines.splice(1, 1);
      left++;
    },
    text() {
      const [first, ...others] = lines;
      if (first === undefined) return '';
      return [first, ...(left > 0 ? [`- (${left} lines are not kept)`] : []), ...others].join('\n');
    },
  };
}

function elapsed(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** "3 blocks", "1 block". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
