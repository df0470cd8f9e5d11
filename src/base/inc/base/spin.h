/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SPIN_H
#define BASE_SPIN_H

#include <stdint.h>

/*
 * How long to look for something again and again before going to sleep for it. Being woken on another processor takes tens of microseconds, more in a virtual machine; what comes sooner than that is had sooner by who looks. So
 * the time to look follows what is seen: it doubles with each thing that came soon enough to be worth it, is halved with each that did not, and nothing is spent on what comes rarely. As the kernel does for a virtual
 * machine that has gone idle (Documentation/virt/kvm/halt-polling.rst).
 *
 * Who looks calls spin_pause() between two looks, which gives others the processor: at once where they are found to be there, now and then where nobody is.
 */

/** struct spin - @most_ns: of looking at a time; @now_ns: what it is at present. For one thread at a time. */
struct spin {
	uint64_t most_ns, now_ns;
};

/** spin_init - @most_ns: 0: never. Never on one processor either, where what is waited for could not happen meanwhile. */
void spin_init(struct spin *s, uint64_t most_ns);
/** spin_saw - what was waited for came after @waited_ns, of looking, sleeping or both */
void spin_saw(struct spin *s, uint64_t waited_ns);
/** spin_pause - nothing was there: others may run before this thread looks again. @now_ns: clock_mono_ns() */
void spin_pause(uint64_t now_ns);

#endif
