// SPDX-License-Identifier: BSD-2-Clause

#define _GNU_SOURCE
#include "CMessages.h"
#include <sys/epoll.h>
#include <sys/socket.h>

int receive_messages(int socket, void *const *blocks, size_t room, size_t *lengths, struct sockaddr_storage *names,
                     socklen_t *name_lengths, int count) {
  struct mmsghdr messages[MOST_MESSAGES] = {0};
  struct iovec pieces[MOST_MESSAGES];
  for (int i = 0; i < count; i++) {
    pieces[i] = (struct iovec){blocks[i], room};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1, .msg_name = &names[i], .msg_namelen = sizeof names[i]};
  }
  int came = recvmmsg(socket, messages, (unsigned)count, MSG_DONTWAIT, NULL);
  for (int i = 0; i < came; i++) {
    lengths[i] = messages[i].msg_len;
    name_lengths[i] = messages[i].msg_hdr.msg_namelen;
  }
  return came;
}

int send_messages(int socket, void *const *blocks, const size_t *lengths, const struct sockaddr_storage *name, socklen_t name_length,
                  int count) {
  struct mmsghdr messages[MOST_MESSAGES] = {0};
  struct iovec pieces[MOST_MESSAGES];
  for (int i = 0; i < count; i++) {
    pieces[i] = (struct iovec){blocks[i], lengths[i]};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    if (name) {
      messages[i].msg_hdr.msg_name = (void *)name;
      messages[i].msg_hdr.msg_namelen = name_length;
    }
  }
  return sendmmsg(socket, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int make_poll(void) { return epoll_create1(EPOLL_CLOEXEC); }

int watch_socket(int poll, int socket, _Bool edges) {
  struct epoll_event event = {.events = edges ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLIN, .data.fd = socket};
  return epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event);
}

int wait_for_sockets(int poll, int *sockets, int count) {
  struct epoll_event events[MOST_MESSAGES];
  int ready = epoll_wait(poll, events, count < MOST_MESSAGES ? count : MOST_MESSAGES, -1);
  for (int i = 0; i < ready; i++) sockets[i] = events[i].data.fd;
  return ready;
}
