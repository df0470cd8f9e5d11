/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Every descriptor made here is close-on-exec; "nonblock" ones are non-blocking too. */

/** fd_close - close and set to -1; -1 is left alone; errno is kept */
void fd_close(int *fd);
/** FD_AUTO - a descriptor closed at the end of its scope; one a line: the attribute would take every name of the declaration */
#define FD_AUTO __attribute__((cleanup(fd_close)))

/** fd_read_full - until n bytes or end of file. Return: bytes read, -errno. */
ssize_t fd_read_full(int fd, void *data, size_t n);
/** fd_pread_full - the same at an offset, which stays where it is */
ssize_t fd_pread_full(int fd, void *data, size_t n, off_t at);
/** fd_write_full - all n bytes. Return: 0, -errno. Blocking descriptors only. */
int fd_write_full(int fd, const void *data, size_t n);
/** fd_pwrite_full - the same at an offset, which stays where it is */
int fd_pwrite_full(int fd, const void *data, size_t n, off_t at);
/**
 * fd_move_up - for libraries: a descriptor of ours that got number 0, 1 or 2, which programs close and fill again as they please, gets another
 * Return: its number from here on; the same if it was a higher one, no descriptor, or if there is no room.
 */
int fd_move_up(int fd);
int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);

/**
 * sock_unix_listen - listen on a Unix stream socket (non-blocking)
 * @path: file system path (a stale socket there is replaced; a live one is -EADDRINUSE), or "@name" for the abstract name space
 * @mode: permission bits, set before anyone can connect; not used for abstract names
 * Return: descriptor, -errno (-ENAMETOOLONG).
 */
int sock_unix_listen(const char *path, mode_t mode);
/** sock_unix_connect - blocking connect to a path or "@name"; the descriptor is blocking. Return: descriptor, -errno. */
int sock_unix_connect(const char *path);
/** sock_unix_listen_packets, sock_unix_connect_packets - the same for SOCK_SEQPACKET */
int sock_unix_listen_packets(const char *path, mode_t mode);
int sock_unix_connect_packets(const char *path);
/** sock_unix_connect_packets_now - to whom may not answer: never blocks, and the descriptor does not either. Return: descriptor, -EAGAIN (too many wait there), -errno. */
int sock_unix_connect_packets_now(const char *path);
/** sock_packet_send - one packet. @pass: a descriptor to go with it, or -1. @wait: block while the queue is full, rather than -EAGAIN. Return: 0, -errno; no SIGPIPE. */
int sock_packet_send(int fd, const void *data, size_t n, int pass, bool wait);
/**
 * sock_packet_recv - one packet
 * @ret_fd: the descriptor that came with it, or -1; more than one are closed
 * @wait:   block until there is one, rather than -EAGAIN
 * Return: its bytes, 0 (the other side closed), -EMSGSIZE (it was longer than @n: gone, its descriptor too), -errno.
 */
ssize_t sock_packet_recv(int fd, void *data, size_t n, int *ret_fd, bool wait);
/**
 * sock_tcp_listen - listen on host:port (non-blocking, SO_REUSEADDR)
 * @port:     0 picks one
 * @ret_port: the port in use; may be NULL
 */
int sock_tcp_listen(const char *host, uint16_t port, uint16_t *ret_port);
/** sock_tcp_connect_start - begin a non-blocking connect (TCP_NODELAY). Return: descriptor (poll it for writing, then read SO_ERROR), -errno. */
int sock_tcp_connect_start(const char *ip, uint16_t port);
/** sock_error - SO_ERROR of a socket as 0 or -errno */
int sock_error(int fd);
/** sock_peer_cred - uid, gid, pid of a Unix peer; any may be NULL. Return: 0, -errno. */
int sock_peer_cred(int fd, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid);

/** sock_send_fd - one byte, and a descriptor with it (-1: none), over a blocking Unix stream socket. Return: 0, -errno. */
int sock_send_fd(int sock, char what, int fd);
/** sock_recv_fd - the other end of it. @ret_fd: -1 if none came along. Return: 1, 0 end of stream, -errno. */
int sock_recv_fd(int sock, char *ret_what, int *ret_fd);

/** fd_raise_limit - as many descriptors as this process may have at most, where it has not got that */
void fd_raise_limit(void);
/** fd_stop_signals - SIGTERM and SIGINT become readable, a struct signalfd_siginfo each, and do nothing else in this thread and those that it makes. Return: descriptor, -errno. */
int fd_stop_signals(void);
int pidfd_of(pid_t pid);                            /* pidfd_open(2): descriptor or -errno */
int pidfd_signal(int pidfd, int sig);               /* 0 or -errno */

#endif
