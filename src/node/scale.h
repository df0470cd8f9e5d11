/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_SCALE_H
#define NODE_SCALE_H

#include <stdint.h>

/**
 * struct scale_input - one function's situation, when calls wait for it
 * @queued:      calls that wait
 * @hot_slots:   slots of instances that run, busy ones too
 * @coming_slots: slots of instances that are being started or woken
 * @instances:   instances that have or will have a process
 * @cpus:        that the node may use
 * @computes:    of a call's time, the share in which it keeps a processor, or waits for one; 0 none
 * @node_slots:  calls that run at a time on the node, of all functions; 0 no limit. More places than that would only wait for them.
 * @exec_ns:     how long a call takes, 0 not known yet
 * @start_ns:    how long one more instance takes until it is ready, 0 not known yet
 */
struct scale_input {
	unsigned queued, hot_slots, coming_slots, instances, max_instances, slots_per_instance, cpus, node_slots;
	double computes;
	uint64_t exec_ns, start_ns;
};

/**
 * scale_more - how many instances to start now
 *
 * As many as it takes to have the queue empty about one start from now, counting what the running slots do until then: a start that would only finish
 * after the queue has drained costs its CPU and memory for nothing, and slows the others down. Calls that take longer than a start get one each,
 * as long as there are processors for what they compute: more would only take them from each other, and memory besides.
 * While nothing is known, as many as there are CPUs. Pure.
 */
unsigned scale_more(const struct scale_input *in);

#endif
