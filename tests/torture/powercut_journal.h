/*
 * The journals of powercut.c: what they look like, and how they are written. restore.rs reads them.
 *
 * One journal a file, named f-<inode>, one a directory, named d-<inode>. Each starts with 24
 * bytes, in the byte order of the machine: a magic number, the offset up to which records are
 * durable, and how often the journal was cut off. Journals outlive the process; what a killed
 * process left unsynced is still unsynced for the next one. Removed and replaced files are kept as
 * hard links s-<number>.
 */
#ifndef POWERCUT_JOURNAL_H
#define POWERCUT_JOURNAL_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_MAGIC 0x314c4e524a544350ULL /* "PCTJRNL1" */
#define RECORD_MAGIC 0x43455250u         /* "PREC" */
#define HEADER_BYTES ((off64_t)sizeof(struct header))

enum kind { WRITE = 1, RESIZE = 2, CREATE = 3, MKDIR = 4, UNLINK = 5, RENAME = 6, RMDIR = 7 };

struct header {
  uint64_t magic, durable, cuts;
};

/* Before a WRITE, [offset, offset + length) held `data` as far as the file went. Before a RESIZE
 * to `length`, the file had `size` bytes and ended with `data` from `length` on. */
struct file_record {
  uint32_t magic, kind;
  uint64_t offset, length, size, data;
};

/* `inode` is the file that the operation is about, `saved` the number of the hard link that keeps
 * what it removed (0: nothing). Two names follow; the second is empty except for RENAME. */
struct dir_record {
  uint32_t magic, kind;
  uint64_t inode, saved;
  uint32_t name, other;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char root[PATH_MAX], journal[PATH_MAX];
static size_t root_length;
static unsigned long saved_count;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_renameat2)(int, const char *, int, const char *, unsigned);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_linkat)(int, const char *, int, const char *, int);
static int (*real_symlinkat)(const char *, int, const char *);
static int (*real_fallocate)(int, int, off64_t, off64_t);
static ssize_t (*real_copy_file_range)(int, off64_t *, int, off64_t *, size_t, unsigned);
static ssize_t (*real_sendfile)(int, int, off64_t *, size_t);
static ssize_t (*real_splice)(int, off64_t *, int, off64_t *, size_t, unsigned);
static void *(*real_mmap)(void *, size_t, int, int, int, off64_t);

/* The simulation must never go on with a hole in its journal. */
static void give_up(const char *what) {
  dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
  abort();
}

static void start(void) {
#define REAL(name, symbol) \
  if (!(*(void **)&real_##name = dlsym(RTLD_NEXT, symbol))) give_up(symbol)
  REAL(write, "write");
  REAL(writev, "writev");
  REAL(pwrite, "pwrite64");
  REAL(pwritev, "pwritev64");
  REAL(ftruncate, "ftruncate64");
  REAL(fsync, "fsync");
  REAL(fdatasync, "fdatasync");
  REAL(openat, "openat64");
  REAL(renameat2, "renameat2");
  REAL(unlinkat, "unlinkat");
  REAL(mkdirat, "mkdirat");
  REAL(linkat, "linkat");
  REAL(symlinkat, "symlinkat");
  REAL(fallocate, "fallocate64");
  REAL(copy_file_range, "copy_file_range");
  REAL(sendfile, "sendfile64");
  REAL(splice, "splice");
  REAL(mmap, "mmap64");
#undef REAL
  const char *below = getenv("POWERCUT_DIR"), *into = getenv("POWERCUT_JOURNAL");
  if (!below || !into) return;
  if (!realpath(below, root)) give_up(below);
  if (!realpath(into, journal)) give_up(into);
  root_length = strlen(root);
}

static int active(void) {
  pthread_once(&once, start);
  return root_length != 0;
}

static int is_below(const char *path) {
  return strncmp(path, root, root_length) == 0 &&
         (path[root_length] == '/' || path[root_length] == '\0');
}

/* Whether a descriptor is a file or directory below the root. Names it in `path`. */
static int is_ours(int fd, char *path, struct stat64 *about) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int error = errno;
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  int ours = 0;
  if (length > 0) {
    path[length] = '\0';
    ours = is_below(path) && fstat64(fd, about) == 0;
  }
  errno = error;
  return ours;
}

/* The real path of the directory that a name stands in, and its last part. */
static int locate(int at, const char *path, char *parent, char *name) {
  char whole[PATH_MAX];
  if (path[0] == '/' || at == AT_FDCWD) {
    if (snprintf(whole, sizeof whole, "%s", path) >= (int)sizeof whole) return 0;
  } else {
    char link[64], base[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, base, sizeof base - 1);
    if (length <= 0) return 0;
    base[length] = '\0';
    if (snprintf(whole, sizeof whole, "%s/%s", base, path) >= (int)sizeof whole) return 0;
  }
  size_t length = strlen(whole);
  while (length > 1 && whole[length - 1] == '/') whole[--length] = '\0';
  char *slash = strrchr(whole, '/');
  const char *last = slash ? slash + 1 : whole;
  if (strlen(last) > NAME_MAX) return 0;
  strcpy(name, last);
  if (slash) *slash = '\0';
  return realpath(slash ? (whole[0] ? whole : "/") : ".", parent) != NULL && is_below(parent);
}

static int open_journal(char kind, ino64_t inode) {
  char path[PATH_MAX + 64];
  snprintf(path, sizeof path, "%s/%c-%llx", journal, kind, (unsigned long long)inode);
  int fd = real_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) give_up(path);
  off64_t end = lseek64(fd, 0, SEEK_END);
  if (end < HEADER_BYTES) {
    struct header header = {FILE_MAGIC, HEADER_BYTES, 0};
    if (real_ftruncate(fd, 0) != 0 || real_pwrite(fd, &header, sizeof header, 0) != HEADER_BYTES)
      give_up(path);
  }
  return fd;
}

static void append(int fd, const void *bytes, size_t length) {
  const char *at = bytes;
  off64_t end = lseek64(fd, 0, SEEK_END);
  while (length) {
    ssize_t wrote = real_pwrite(fd, at, length, end);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) give_up("writing a journal");
    at += wrote, end += wrote, length -= (size_t)wrote;
  }
}

static void uncovered(const char *what, const char *path) {
  char name[PATH_MAX + 64];
  snprintf(name, sizeof name, "%s/uncovered", journal);
  int fd = real_openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) give_up(name);
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%s %s\n", what, path);
  if (real_write(fd, line, (size_t)length) < 0) give_up(name);
  close(fd);
}

/* Notes what a change of [offset, offset + length), or to the size `length`, destroys. The lock is
 * held until the change is made, so that the order of the records is that of the changes. */
static void note(int fd, const struct stat64 *about, enum kind kind, uint64_t offset,
                 uint64_t length) {
  uint64_t size = (uint64_t)about->st_size;
  uint64_t from = kind == WRITE ? offset : length;
  uint64_t to = kind == WRITE ? offset + length : size;
  if (to > size) to = size;
  uint64_t data = to > from ? to - from : 0;
  struct file_record record = {RECORD_MAGIC, kind, offset, length, size, data};
  char *bytes = malloc(sizeof record + data);
  if (!bytes) give_up("memory");
  memcpy(bytes, &record, sizeof record);
  if (data) {
    /* The descriptor may be for writing only. */
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = real_openat(AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (reader < 0) give_up("reading what is overwritten");
    uint64_t done = 0;
    while (done < data) {
      ssize_t got =
          pread64(reader, bytes + sizeof record + done, data - done, (off64_t)(from + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) give_up("reading what is overwritten");
      done += (uint64_t)got;
    }
    close(reader);
  }
  int out = open_journal('f', about->st_ino);
  append(out, bytes, sizeof record + data);
  close(out);
  free(bytes);
}

static void note_name(const char *parent, enum kind kind, ino64_t inode, unsigned long saved,
                      const char *name, const char *other) {
  struct stat64 about;
  if (stat64(parent, &about) != 0) give_up(parent);
  struct dir_record record = {RECORD_MAGIC, kind,  inode, saved, (uint32_t)strlen(name),
                              (uint32_t)strlen(other)};
  char bytes[sizeof record + 2 * NAME_MAX + 2];
  memcpy(bytes, &record, sizeof record);
  memcpy(bytes + sizeof record, name, record.name);
  memcpy(bytes + sizeof record + record.name, other, record.other);
  int out = open_journal('d', about.st_ino);
  append(out, bytes, sizeof record + record.name + record.other);
  close(out);
}

/* Keeps a file that is about to lose its name. */
static unsigned long save(const char *path) {
  for (;;) {
    char kept[PATH_MAX + 64];
    unsigned long number = ++saved_count;
    snprintf(kept, sizeof kept, "%s/s-%lu", journal, number);
    if (real_linkat(AT_FDCWD, path, AT_FDCWD, kept, 0) == 0) return number;
    if (errno != EEXIST) give_up(kept);
  }
}

static struct header header_of(int fd) {
  struct header header;
  if (pread64(fd, &header, sizeof header, 0) != HEADER_BYTES) give_up("reading a journal");
  return header;
}

/* Marks the records durable that stood in a journal at the offset `until` and before, unless the
 * journal was cut off since: then another sync has seen to them. */
static void durable(int fd, off64_t until, uint64_t cuts) {
  struct header header = header_of(fd);
  if (header.cuts != cuts || (uint64_t)until <= header.durable) return;
  int all = lseek64(fd, 0, SEEK_END) == until;
  header.durable = (uint64_t)(all ? HEADER_BYTES : until);
  header.cuts += (uint64_t)all;
  /* A kill between the two brings records back: as if the sync had not ended. */
  if (real_pwrite(fd, &header, sizeof header, 0) != HEADER_BYTES) give_up("writing a journal");
  if (all && real_ftruncate(fd, HEADER_BYTES) != 0) give_up("cutting a journal");
}

#endif
