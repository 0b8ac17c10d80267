/*
 * The least that programming can cost: sends the netlink messages of a file, made beforehand, to the kernel of a
 * network namespace, 128 to a send, and reads the acknowledgement of each send. Prints the seconds that took.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { messages_per_send = 128 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: %s NAMESPACE-PATH MESSAGES-FILE\n", arguments[0]);
    return 2;
  }
  int namespace = open(arguments[1], O_RDONLY);
  if (namespace < 0 || setns(namespace, CLONE_NEWNET) != 0) fail(arguments[1]);
  int file = open(arguments[2], O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) fail(arguments[2]);
  char *messages = malloc(status.st_size);
  for (off_t have = 0; have < status.st_size;) {
    ssize_t got = read(file, messages + have, status.st_size - have);
    if (got <= 0) fail(arguments[2]);
    have += got;
  }
  int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  int one = 1;
  if (netlink < 0 || bind(netlink, (struct sockaddr *)&address, sizeof address) != 0) fail("netlink");
  setsockopt(netlink, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);

  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  static char answer[65536];
  for (off_t position = 0; position < status.st_size;) {
    off_t start = position;
    struct nlmsghdr *last = NULL;
    for (int number = 0; number < messages_per_send && position < status.st_size; number++) {
      last = (struct nlmsghdr *)(messages + position);
      position += NLMSG_ALIGN(last->nlmsg_len);
    }
    last->nlmsg_flags |= NLM_F_ACK;
    if (send(netlink, messages + start, position - start, 0) < 0) fail("send");
    for (int finished = 0; !finished;) {
      ssize_t length = recv(netlink, answer, sizeof answer, 0);
      if (length < 0) fail("receive");
      for (struct nlmsghdr *header = (struct nlmsghdr *)answer; NLMSG_OK(header, length);
           header = NLMSG_NEXT(header, length)) {
        struct nlmsgerr *error = NLMSG_DATA(header);
        if (header->nlmsg_type != NLMSG_ERROR) continue;
        if (error->error != 0) {
          fprintf(stderr, "message %u: %s\n", header->nlmsg_seq, strerror(-error->error));
          return 1;
        }
        if (header->nlmsg_seq == last->nlmsg_seq) finished = 1;
      }
    }
  }
  clock_gettime(CLOCK_MONOTONIC, &after);
  printf("%.6f\n", after.tv_sec - before.tv_sec + (after.tv_nsec - before.tv_nsec) / 1e9);
  return 0;
}
