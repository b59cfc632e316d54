import { describe, expect, it } from 'vitest';
import { counted, createStory } from './story.ts';

describe('a story', () => {
  it('has a line for everything told, with the time since the first', () => {
    let nowMs = 1_000;
    const story = createStory(() => nowMs);
    expect(story.text()).toBe('');
    for (const [atMs, line] of [
      [1_000, 'begun'],
      [1_250, 'copied'],
      [61_000, 'waiting'],
      [601_000, 'asked'],
      [9_001_000, 'done'],
    ] as const) {
      nowMs = atMs;
      story.tell(line);
    }
    expect(story.text().split('\n')).toEqual(['- 0.00 s: begun', '- 0.25 s: copied', '- 60 s: waiting', '- 10 min: asked', '- 2.5 h: done']);
  });

  it('keeps its beginning and its newest lines, and says that some are missing', () => {
    const story = createStory(() => 0);
    for (let line = 0; line < 60; line++) story.tell(`line ${line}`);
    const lines = story.text().split('\n');
    expect(lines).toHaveLength(51);
    expect([lines[0], lines[1], lines[2], lines.at(-1)]).toEqual([
      '- 0.00 s: line 0',
      '- (10 lines are not kept)',
      '- 0.00 s: line 11',
      '- 0.00 s: line 59',
    ]);
  });

  it('counts in words', () => {
    expect([counted(1, 'block'), counted(2, 'block')]).toEqual(['1 block', '2 blocks']);
  });
});
