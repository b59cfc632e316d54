import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OldestFirst } from './oldest-first.ts';

test('is a set that keeps its order, whatever is done to it', () => {
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), number: fc.nat(9) }),
    fc.record({ kind: fc.constant('delete' as const), number: fc.nat(9) }),
    fc.record({ kind: fc.constant('shift' as const), number: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const tested = new OldestFirst(10);
      const model = new Set<number>();
      for (const { kind, number } of operations) {
        if (kind === 'add') {
          if (model.has(number)) expect(() => tested.add(number)).toThrow('twice');
          else tested.add(number);
          model.add(number);
        } else if (kind === 'delete') expect(tested.delete(number)).toBe(model.delete(number));
        else {
          const [oldest] = model;
          expect(tested.shift()).toBe(oldest);
          if (oldest !== undefined) model.delete(oldest);
        }
        expect(tested.size).toBe(model.size);
        for (let each = 0; each < 10; each++) expect(tested.has(each)).toBe(model.has(each));
      }
    }),
  );
});
