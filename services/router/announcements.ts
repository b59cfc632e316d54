// Tells what was placed: to the other routers and to admission. Placements of some milliseconds leave in one message,
// because a message costs everybody who hears it more than what is in it.
import { booked } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Clock } from '../../lib/ports/clock.ts';
import type { Booking } from '../../proto/gen/messages.ts';

/** A placement is told this long after it was made, at the latest. Until then other routers may choose the same instance. */
const gatherMs = 10;
/** At the limit the message leaves at once: with their prefixes, so many are far below what a message may hold. */
const maxBookings = 256;

export interface Announcements {
  add(booking: Omit<Booking, 'meta'>): void;
  /** Tells what is waiting. */
  flush(): void;
}

export function createAnnouncements({ bus, clock, routerId }: { bus: Bus; clock: Clock; routerId: string }): Announcements {
  let waiting: Omit<Booking, 'meta'>[] = [];
  let cancel = () => {};

  function flush(): void {
    cancel();
    if (waiting.length === 0) return;
    const bookings = waiting;
    waiting = [];
    bus.publish(booked, [], { routerId, bookings });
  }

  return {
    add(booking) {
      const count = waiting.push(booking);
      if (count >= maxBookings) flush();
      else if (count === 1) cancel = clock.after(gatherMs, flush);
    },
    flush,
  };
}
