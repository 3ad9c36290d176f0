/*
 * A power cut, simulated under a process that knows nothing of it (LD_PRELOAD).
 *
 * Files below $POWERCUT_DIR are written as always. Beside that, before every change, what the
 * change destroys is appended to a journal in $POWERCUT_JOURNAL, a directory of the same file
 * system that lies outside of $POWERCUT_DIR. fsync and fdatasync of a file make everything durable
 * that was written to it before the call: the journal is cut off there. fsync of a directory does
 * so for the names in it. Nothing else does: sync_file_range waits for the page cache at most.
 * After the process was killed, the driver reads the journals and takes back what was not durable,
 * all of it or a part (restore.rs).
 *
 * Covered: write, writev, pwrite, pwritev (and their 64 forms), ftruncate, truncate, O_TRUNC,
 * O_CREAT, mkdir, rmdir, rename, unlink, fsync, fdatasync. Anything else that could change a file
 * below the directory (shared writable mappings, fallocate, copy_file_range, link, symlink,
 * rename between directories, ...) is carried out, and named in the file `uncovered`, on which the
 * driver fails. System calls made without the C library are not seen at all.
 */
#include "powercut_journal.h"

static int synced(int fd, int (*real)(int)) {
  char path[PATH_MAX];
  struct stat64 about;
  if (!active() || !is_ours(fd, path, &about)) return real(fd);
  pthread_mutex_lock(&lock);
  int records = open_journal(S_ISDIR(about.st_mode) ? 'd' : 'f', about.st_ino);
  off64_t until = lseek64(records, 0, SEEK_END);
  uint64_t cuts = header_of(records).cuts;
  pthread_mutex_unlock(&lock);
  int result = real(fd), error = errno;
  if (result == 0) {
    pthread_mutex_lock(&lock);
    durable(records, until, cuts);
    pthread_mutex_unlock(&lock);
  }
  close(records);
  errno = error;
  return result;
}

int fsync(int fd) {
  pthread_once(&once, start);
  return synced(fd, real_fsync);
}

int fdatasync(int fd) {
  pthread_once(&once, start);
  return synced(fd, real_fdatasync);
}

static uint64_t total(const struct iovec *parts, int count) {
  uint64_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  return length;
}

static uint64_t position(int fd, const struct stat64 *about) {
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_APPEND)) return (uint64_t)about->st_size;
  off64_t at = lseek64(fd, 0, SEEK_CUR);
  return at < 0 ? 0 : (uint64_t)at;
}

/* Runs `call` with its change noted first, where `fd` is a file of ours. `seeks` says that the
 * change is made at the position of the descriptor. */
#define CHANGE(fd, kind, seeks, offset, length, type, call)                     \
  do {                                                                          \
    char path[PATH_MAX];                                                        \
    struct stat64 about;                                                        \
    if (!active() || (fd) <= 2 || !is_ours(fd, path, &about) || !S_ISREG(about.st_mode)) \
      return call;                                                              \
    pthread_mutex_lock(&lock);                                                  \
    if (fstat64(fd, &about) != 0) give_up(path);                                \
    uint64_t at = (seeks) ? position(fd, &about) : (uint64_t)(offset);          \
    note(fd, &about, kind, at, length);                                         \
    type result = call;                                                         \
    int error = errno;                                                          \
    pthread_mutex_unlock(&lock);                                                \
    errno = error;                                                              \
    return result;                                                              \
  } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
  pthread_once(&once, start);
  CHANGE(fd, WRITE, 1, 0, length, ssize_t, real_write(fd, bytes, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  pthread_once(&once, start);
  CHANGE(fd, WRITE, 1, 0, total(parts, count), ssize_t, real_writev(fd, parts, count));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  pthread_once(&once, start);
  CHANGE(fd, WRITE, 0, offset, length, ssize_t, real_pwrite(fd, bytes, length, offset));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite64(fd, bytes, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  pthread_once(&once, start);
  CHANGE(fd, WRITE, 0, offset, total(parts, count), ssize_t,
         real_pwritev(fd, parts, count, offset));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev64(fd, parts, count, offset);
}

int ftruncate64(int fd, off64_t length) {
  pthread_once(&once, start);
  CHANGE(fd, RESIZE, 0, 0, (uint64_t)length, int, real_ftruncate(fd, length));
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int truncate64(const char *path, off64_t length) {
  pthread_once(&once, start);
  int fd = real_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  int result = ftruncate64(fd, length), error = errno;
  close(fd);
  errno = error;
  return result;
}

int truncate(const char *path, off_t length) { return truncate64(path, length); }

/* Opens, and notes a creation or a cut to nothing. */
static int opens(int at, const char *path, int flags, mode_t mode) {
  char parent[PATH_MAX], name[NAME_MAX + 1];
  int changes = (flags & (O_CREAT | O_TRUNC)) != 0 && (flags & O_TMPFILE) != O_TMPFILE;
  if (!changes || !active() || !locate(at, path, parent, name))
    return real_openat(at, path, flags, mode);
  pthread_mutex_lock(&lock);
  struct stat64 about;
  int existed = fstatat64(at, path, &about, 0) == 0;
  if (existed && (flags & O_TRUNC) && !(flags & O_EXCL) && S_ISREG(about.st_mode) &&
      about.st_size > 0) {
    int reader = real_openat(at, path, O_RDONLY | O_CLOEXEC);
    if (reader < 0) give_up(path);
    note(reader, &about, RESIZE, 0, 0);
    close(reader);
  }
  int fd = real_openat(at, path, flags, mode), error = errno;
  if (fd >= 0 && !existed && fstat64(fd, &about) == 0)
    note_name(parent, CREATE, about.st_ino, 0, name, "");
  pthread_mutex_unlock(&lock);
  errno = error;
  return fd;
}

static mode_t mode_of(int flags, va_list more) {
  return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
}

#define OPENS(at)                          \
  do {                                     \
    pthread_once(&once, start);            \
    va_list more;                          \
    va_start(more, flags);                 \
    mode_t mode = mode_of(flags, more);    \
    va_end(more);                          \
    return opens(at, path, flags, mode);   \
  } while (0)

int open(const char *path, int flags, ...) { OPENS(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPENS(AT_FDCWD); }
int openat(int at, const char *path, int flags, ...) { OPENS(at); }
int openat64(int at, const char *path, int flags, ...) { OPENS(at); }

int creat64(const char *path, mode_t mode) {
  return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat(const char *path, mode_t mode) { return creat64(path, mode); }

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
  pthread_once(&once, start);
  char from_parent[PATH_MAX], to_parent[PATH_MAX], from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
  if (!active()) return real_renameat2(from_at, from, to_at, to, flags);
  int leaves = locate(from_at, from, from_parent, from_name);
  int arrives = locate(to_at, to, to_parent, to_name);
  if (!leaves && !arrives) return real_renameat2(from_at, from, to_at, to, flags);
  pthread_mutex_lock(&lock);
  struct stat64 about, replaced;
  if (!leaves || !arrives || strcmp(from_parent, to_parent) != 0 || flags != 0) {
    uncovered("rename between directories", to);
  } else if (fstatat64(from_at, from, &about, AT_SYMLINK_NOFOLLOW) == 0) {
    unsigned long saved = 0;
    if (fstatat64(to_at, to, &replaced, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(replaced.st_mode)) {
      char path[2 * PATH_MAX];
      snprintf(path, sizeof path, "%s/%s", to_parent, to_name);
      saved = save(path);
    }
    note_name(to_parent, RENAME, about.st_ino, saved, from_name, to_name);
  }
  int result = real_renameat2(from_at, from, to_at, to, flags), error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
  return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int at, const char *path, int flags) {
  pthread_once(&once, start);
  char parent[PATH_MAX], name[NAME_MAX + 1];
  if (!active() || !locate(at, path, parent, name)) return real_unlinkat(at, path, flags);
  pthread_mutex_lock(&lock);
  struct stat64 about;
  if (fstatat64(at, path, &about, AT_SYMLINK_NOFOLLOW) == 0) {
    char whole[2 * PATH_MAX];
    snprintf(whole, sizeof whole, "%s/%s", parent, name);
    if (flags & AT_REMOVEDIR)
      note_name(parent, RMDIR, about.st_ino, 0, name, "");
    else
      note_name(parent, UNLINK, about.st_ino, save(whole), name, "");
  }
  int result = real_unlinkat(at, path, flags), error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path) {
  int result = unlink(path);
  return result != 0 && errno == EISDIR ? rmdir(path) : result;
}

int mkdirat(int at, const char *path, mode_t mode) {
  pthread_once(&once, start);
  char parent[PATH_MAX], name[NAME_MAX + 1];
  if (!active() || !locate(at, path, parent, name)) return real_mkdirat(at, path, mode);
  pthread_mutex_lock(&lock);
  int result = real_mkdirat(at, path, mode), error = errno;
  struct stat64 about;
  if (result == 0 && fstatat64(at, path, &about, 0) == 0)
    note_name(parent, MKDIR, about.st_ino, 0, name, "");
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* From here on: what is not simulated, only noticed. */

static void notice(const char *what, int fd) {
  char path[PATH_MAX];
  struct stat64 about;
  if (!active() || fd < 0 || !is_ours(fd, path, &about)) return;
  pthread_mutex_lock(&lock);
  uncovered(what, path);
  pthread_mutex_unlock(&lock);
}

static void notice_name(const char *what, int at, const char *path) {
  char parent[PATH_MAX], name[NAME_MAX + 1];
  if (!active() || !locate(at, path, parent, name)) return;
  pthread_mutex_lock(&lock);
  uncovered(what, path);
  pthread_mutex_unlock(&lock);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
  pthread_once(&once, start);
  if ((flags & (MAP_SHARED | MAP_SHARED_VALIDATE)) && (protection & PROT_WRITE))
    notice("a shared writable mapping", fd);
  return real_mmap(address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap64(address, length, protection, flags, fd, offset);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  pthread_once(&once, start);
  notice("fallocate", fd);
  return real_fallocate(fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  return fallocate64(fd, mode, offset, length);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length,
                        unsigned flags) {
  pthread_once(&once, start);
  notice("copy_file_range", out);
  return real_copy_file_range(in, in_at, out, out_at, length, flags);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t length) {
  pthread_once(&once, start);
  notice("sendfile", out);
  return real_sendfile(out, in, offset, length);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t length) {
  return sendfile64(out, in, offset, length);
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags) {
  pthread_once(&once, start);
  notice("splice", out);
  return real_splice(in, in_at, out, out_at, length, flags);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
  pthread_once(&once, start);
  notice_name("link", to_at, to);
  return real_linkat(from_at, from, to_at, to, flags);
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int symlinkat(const char *target, int at, const char *path) {
  pthread_once(&once, start);
  notice_name("symlink", at, path);
  return real_symlinkat(target, at, path);
}

int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }
