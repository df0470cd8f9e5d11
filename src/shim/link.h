/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_LINK_H
#define SHIM_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "shim/wire.h"

/*
 * The connection to the keeper. The thread that makes a change says so itself, without ever waiting: when the keeper is behind, or not there, what it is to know stays noted (buffers in the list of memory,
 * refusals, freed ids) and the service thread sends it later. So a keeper that stands still never holds up the program, and one that comes anew learns all.
 */

/** link_changed - there is something new to say. Context: shim_lock held. */
void link_changed(void) SHIM_HIDDEN;
/** link_freed - buffer @id is gone, and the keeper knew it. Context: shim_lock held; before its handle is released. */
void link_freed(uint64_t id) SHIM_HIDDEN;

/** link_answers - a number that changes when the keeper has let go of freed memory */
uint32_t link_answers(void) SHIM_HIDDEN;
/**
 * link_wait_freed - wait until the keeper lets go of memory that was freed, if it is to
 * @answers:  from link_answers(), before memory was found to be short
 * Return: true: try again; false: nothing to wait for, or the time is up.
 */
bool link_wait_freed(uint32_t answers, uint64_t deadline_ns) SHIM_HIDDEN;
/**
 * link_ask_room - have the keeper give back what it holds for parked programs
 * @device: one that has been asked about; @bytes: that are wanted
 * Return: true: some was given back, try again; false: there is none, or nobody to ask.
 */
bool link_ask_room(int device, uint64_t bytes, uint64_t deadline_ns) SHIM_HIDDEN;

/* The service thread's: */
/** link_open - connect. @path: of the socket. Return: 0, -errno. */
int link_open(const char *path) SHIM_HIDDEN;
/** link_start - the keeper has answered HELLO: from now on it is told of changes */
void link_start(void) SHIM_HIDDEN;
/** link_close - no descriptor is left open; the next keeper will be told all again */
void link_close(void) SHIM_HIDDEN;
/** link_wait - until a packet has come or there is something to send, which is then sent. Return: 0: look for packets; -errno: the connection is over. */
int link_wait(void) SHIM_HIDDEN;
int link_recv(struct shim_msg *ret) SHIM_HIDDEN;        /* as packet_recv() */
/** link_answer - @pass: descriptor or -1. Waits while the keeper is behind. Return: 0, -errno. */
int link_answer(const struct shim_msg *m, int pass) SHIM_HIDDEN;
/** link_let_go - the keeper has let go of a freed buffer */
void link_let_go(void) SHIM_HIDDEN;
/** link_room_given - the answer to that */
void link_room_given(uint64_t bytes) SHIM_HIDDEN;
void link_fork_child(void) SHIM_HIDDEN;

#endif
