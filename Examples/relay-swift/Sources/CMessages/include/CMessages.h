// SPDX-License-Identifier: BSD-2-Clause

#ifndef CMESSAGES_H
#define CMESSAGES_H

#include <stddef.h>
#include <sys/socket.h>

enum { MOST_MESSAGES = 64 };

// recvmmsg and sendmmsg, which Swift does not see: what the relay on packet buffers has from Stave. Blocks are `room` bytes each. How many,
// or -1.
int receive_messages(int socket, void *const _Nonnull *_Nonnull blocks, size_t room, size_t *_Nonnull lengths,
                     struct sockaddr_storage *_Nonnull names, socklen_t *_Nonnull name_lengths, int count);
// To `name`, or where the socket is connected if that is null.
int send_messages(int socket, void *const _Nonnull *_Nonnull blocks, const size_t *_Nonnull lengths,
                  const struct sockaddr_storage *_Nullable name, socklen_t name_length, int count);

// epoll(7), likewise. `edges`: also when the socket takes bytes again, and each only when it changes.
int make_poll(void);
int watch_socket(int poll, int socket, _Bool edges);
// Waits; which sockets there is something to do for: how many.
int wait_for_sockets(int poll, int *_Nonnull sockets, int count);

#endif
