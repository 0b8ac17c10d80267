/*
 * What container runtimes execute as a CNI plugin. It hands the CNI_* environment and its standard input to the agent of this node, over
 * the agent's Unix socket, and prints the answer. A runtime starts it for each step of each container, so it is small: no
 * library, no heap, the system calls themselves. scripts/plugin.sh compiles it.
 *
 * The request is HTTP/1.0, whose answer ends with the connection. Its body: each variable as NAME=VALUE and a zero octet, one more
 * zero octet, the configuration.
 *
 * A DEL that no agent hears must not hold up what the runtime has to do, and must not be lost: it is written into a folder beside
 * the agent's socket, which the agent looks into when it starts and before each call.
 */
#define SOCKET_DEFAULT "/run/weft/agent.sock"
#define DELETED "/cni-deleted"
#define LIMIT_SECONDS 60

typedef unsigned long size;

#ifdef __x86_64__
enum { READ = 0, WRITE = 1, CLOSE = 3, SOCKET = 41, CONNECT = 42, SENDTO = 44, SETSOCKOPT = 54, FSYNC = 74, EXIT_GROUP = 231,
       OPENAT = 257, MKDIRAT = 258, UNLINKAT = 263, RENAMEAT = 264, GETRANDOM = 318 };
static long call(long n, long a, long b, long c, long d, long e) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
  return result;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#else
enum { READ = 63, WRITE = 64, CLOSE = 57, SOCKET = 198, CONNECT = 203, SENDTO = 206, SETSOCKOPT = 208, FSYNC = 82, EXIT_GROUP = 94,
       OPENAT = 56, MKDIRAT = 34, UNLINKAT = 35, RENAMEAT = 38, GETRANDOM = 278 };
static long call(long n, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
__asm__(".globl _start\n_start: mov x29, xzr\n mov x30, xzr\n mov x0, sp\n bl start\n");
#endif

enum { AF_UNIX = 1, SOCK_STREAM_CLOEXEC = 02000001, SOL_SOCKET = 1, SO_RCVTIMEO = 20, SO_SNDTIMEO = 21, MSG_NOSIGNAL = 0x4000 };
enum { AT_FDCWD = -100, O_WRONLY_CREAT_EXCL = 0301, EINTR = 4, EAGAIN = 11 };
/** What became of a request: `LATE`: somebody is there, and did not answer in time. */
enum outcome { ANSWERED, LATE, UNHEARD };
enum found { ABSENT, FOUND, UNUSABLE };

static struct { unsigned short family; char path[108]; } address;
static char body[4 << 20], answer[4 << 20], text[1024], folder[160], version[32] = "1.1.0";
static size bodyLength, answerLength, textLength, folderLength;

static size length(const char *s) {
  size n = 0;
  while (s[n]) n++;
  return n;
}

static int starts(const char *s, const char *with) {
  while (*with) if (*s++ != *with++) return 0;
  return 1;
}

static void put(const char *s) {
  while (*s && textLength < sizeof text - 1) text[textLength++] = *s++;
}

static void putNumber(size n) {
  if (n > 9) putNumber(n / 10);
  put((char[2]){(char)('0' + n % 10), 0});
}

/** A socket's other end that has gone away is an error, and no signal: a DEL is to be written down then. */
static int writeAll(int fd, int isSocket, const char *from, size n) {
  while (n > 0) {
    long done = call(isSocket ? SENDTO : WRITE, fd, (long)from, (long)n, MSG_NOSIGNAL, 0);
    if (done == -EINTR) continue;
    if (done <= 0) return (int)(done == 0 ? -1 : done);
    from += done, n -= (size)done;
  }
  return 0;
}

/** Reads to the end. -1: there is more than `room`; else 0, or the kernel's error. */
static long readAll(int fd, char *into, size room, size *n) {
  for (;;) {
    if (*n == room) return -1;
    long done = call(READ, fd, (long)(into + *n), (long)(room - *n), 0, 0);
    if (done == -EINTR) continue;
    if (done <= 0) return done;
    *n += (size)done;
  }
}

__attribute__((noreturn)) static void leave(int status) {
  call(EXIT_GROUP, status, 0, 0, 0, 0);
  __builtin_unreachable();
}

/** The error result of the specification. The texts need no escaping. */
__attribute__((noreturn)) static void fail(int code, const char *message, const char *details) {
  textLength = 0;
  put("{\"cniVersion\":\""), put(version), put("\",\"code\":"), putNumber((size)code);
  put(",\"msg\":\""), put(message), put("\",\"details\":\""), put(details), put("\"}\n");
  writeAll(1, 0, text, textLength);
  leave(1);
}

static int isBlank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/**
 * Copies what `key` has at the top of the configuration. `UNUSABLE`: that is no text, does not fit, or has more than printable ASCII
 * without escapes. That the configuration is well-formed is the agent's to judge.
 */
static enum found find(const char *json, const char *key, char *into, size room) {
  int depth = 0;
  while (*json) {
    if (*json == '{' || *json == '[') depth++;
    if (*json == '}' || *json == ']') depth--;
    if (*json++ != '"') continue;
    const char *name = json;
    while (*json && *json != '"') json += *json == '\\' && json[1] ? 2 : 1;
    int isKey = depth == 1 && starts(name, key) && name + length(key) == json;
    if (*json) json++;
    if (!isKey) continue;
    while (isBlank(*json)) json++;
    if (*json != ':') continue;
    do json++; while (isBlank(*json));
    if (*json != '"') return UNUSABLE;
    size n = 0;
    for (const char *c = json + 1; *c != '"'; c++, n++) if (*c < ' ' || *c == '\\' || *c > '~' || n + 1 == room) return UNUSABLE;
    for (size i = 0; i < n; i++) into[i] = json[1 + i];
    into[n] = 0;
    return FOUND;
  }
  return ABSENT;
}

/** Sends the body; the answer is in `answer` then, whole. */
static enum outcome ask(void) {
  int fd = (int)call(SOCKET, AF_UNIX, SOCK_STREAM_CLOEXEC, 0, 0, 0);
  if (fd < 0) return UNHEARD;
  long limit[2] = {LIMIT_SECONDS, 0};
  call(SETSOCKOPT, fd, SOL_SOCKET, SO_RCVTIMEO, (long)limit, sizeof limit);
  call(SETSOCKOPT, fd, SOL_SOCKET, SO_SNDTIMEO, (long)limit, sizeof limit);
  textLength = 0, answerLength = 0;
  put("POST /cni HTTP/1.0\r\ncontent-length: "), putNumber(bodyLength), put("\r\n\r\n");
  long error = call(CONNECT, fd, (long)&address, sizeof address, 0, 0);
  if (error == 0) error = writeAll(fd, 1, text, textLength);
  if (error == 0) error = writeAll(fd, 1, body, bodyLength);
  if (error == 0) error = readAll(fd, answer, sizeof answer - 1, &answerLength);
  call(CLOSE, fd, 0, 0, 0, 0);
  answer[answerLength] = 0;
  return error == 0 ? ANSWERED : error == -EAGAIN ? LATE : UNHEARD;
}

/**
 * Prints an answer and leaves; returns if it is none, or not all of one, as of an agent that ended meanwhile. What was written down
 * as `file` has been done with it.
 */
static void printAnswer(const char *file) {
  char *at = answer, *said = 0;
  size expected = 0;
  for (; *at && !starts(at, "\r\n\r\n"); at++)
    if (starts(at, "\r\ncontent-length: ")) said = at + 18;
  if (!said || !*at || !starts(answer, "HTTP/1.")) return;
  while (*said >= '0' && *said <= '9') expected = expected * 10 + (size)(*said++ - '0');
  at += 4;
  if (expected != answerLength - (size)(at - answer)) return;
  if (*file) call(UNLINKAT, AT_FDCWD, (long)file, 0, 0, 0);
  leave(writeAll(1, 0, at, expected) || !starts(answer + 8, " 200 "));
}

/** Writes the request down for the agent that starts next. 0: it is on disk. */
static int writeDown(char *name, size room) {
  static char unfinished[200];
  unsigned char random[8];
  // After a reboot the folder of the socket is there when the agent has started, and not before.
  folder[folderLength - (sizeof DELETED - 1)] = 0;
  call(MKDIRAT, AT_FDCWD, (long)folder, 0700, 0, 0);
  folder[folderLength - (sizeof DELETED - 1)] = '/';
  call(MKDIRAT, AT_FDCWD, (long)folder, 0700, 0, 0);
  if (call(GETRANDOM, (long)random, sizeof random, 0, 0, 0) != sizeof random) return -1;
  size n = 0;
  for (const char *c = folder; *c && n < room - 24; c++) name[n++] = *c;
  name[n++] = '/';
  for (size i = 0; i < sizeof random; i++)
    name[n++] = "0123456789abcdef"[random[i] >> 4], name[n++] = "0123456789abcdef"[random[i] & 15];
  name[n] = 0;
  for (size i = 0; i < n; i++) unfinished[i] = name[i];
  for (size i = 0; i < 5; i++) unfinished[n + i] = ".new"[i];
  int fd = (int)call(OPENAT, AT_FDCWD, (long)unfinished, O_WRONLY_CREAT_EXCL, 0600, 0);
  if (fd < 0) return -1;
  int isWritten = writeAll(fd, 0, body, bodyLength) == 0 && call(FSYNC, fd, 0, 0, 0, 0) == 0;
  call(CLOSE, fd, 0, 0, 0, 0);
  if (isWritten && call(RENAMEAT, AT_FDCWD, (long)unfinished, AT_FDCWD, (long)name, 0) == 0) return 0;
  call(UNLINKAT, AT_FDCWD, (long)unfinished, 0, 0, 0);
  return -1;
}

__attribute__((used, noreturn)) static void start(long *stack) {
  static char file[192];
  const char *command = "";
  for (char **variable = (char **)(stack + stack[0] + 2); *variable; variable++) {
    size n = length(*variable) + 1;
    if (!starts(*variable, "CNI_")) continue;
    if (starts(*variable, "CNI_COMMAND=")) command = *variable + 12;
    if (bodyLength + n + 1 > sizeof body / 2) fail(4, "environment too large", "the CNI_ variables take more than 2 MiB");
    for (size i = 0; i < n; i++) body[bodyLength++] = (*variable)[i];
  }
  body[bodyLength++] = 0;
  const char *configuration = body + bodyLength;
  long error = readAll(0, body, sizeof body - 1, &bodyLength);
  find(configuration, "cniVersion", version, sizeof version);
  if (error == -1) fail(6, "configuration too large", "the configuration on standard input takes more than 2 MiB");
  if (error) fail(5, "cannot read the configuration", "reading standard input failed");
  if (!*command) fail(4, "missing environment variables: CNI_COMMAND", "this is a CNI plugin: a container runtime runs it");
  if (starts(command, "VERSION")) {
    textLength = 0;
    put("{\"cniVersion\":\""), put(version);
    put("\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
    leave(writeAll(1, 0, text, textLength) != 0);
  }
  for (size i = 0; i < sizeof SOCKET_DEFAULT; i++) address.path[i] = SOCKET_DEFAULT[i];
  address.family = AF_UNIX;
  if (find(configuration, "agentSocket", address.path, sizeof address.path) == UNUSABLE || address.path[0] != '/')
    fail(7, "agentSocket cannot be used", "allowed: an absolute path of at most 107 printable ASCII characters without quotes and backslashes");
  size last = 0;
  for (size i = 0; address.path[i]; i++) if (address.path[i] == '/') last = i;
  for (size i = 0; i < last; i++) folder[i] = address.path[i];
  for (size i = 0; i < sizeof DELETED; i++) folder[last + i] = DELETED[i];
  folderLength = last + sizeof DELETED - 1;
  enum outcome outcome = ask();
  if (outcome == ANSWERED) printAnswer("");
  if (outcome == LATE) fail(11, "the agent of weft does not answer", "it is stopped, hangs or is overloaded: see its log, and restart it");
  if (starts(command, "DEL")) {
    int isLost = writeDown(file, sizeof file) != 0;
    // One that has started meanwhile may have looked there before.
    if (ask() == ANSWERED) printAnswer(file);
    if (isLost) fail(11, "no agent of weft runs on this node", "and the folder beside its socket cannot be written to; start it: systemctl start weft-agent");
    leave(0);
  }
  fail(starts(command, "STATUS") ? 50 : 11, "no agent of weft runs on this node", "start it: systemctl start weft-agent");
}
