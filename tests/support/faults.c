/* Faults of a disk, for a process that loads this library before libc (LD_PRELOAD) and then calls fault_arm().
 *
 * Calls that change files below one folder are counted, and the k-th of them fails, or all from there on. Calls on
 * other files pass, and so do all calls before fault_arm(). Programs that a process starts are not armed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t length;
static long at, counted;
static int error, lasting;
static char met[PATH_MAX + 64];

void fault_arm(const char *folder, long k, int number, int on_and_on) {
    strncpy(root, folder, sizeof root - 1);
    length = strlen(root);
    at = k, error = number, lasting = on_and_on, counted = 0, met[0] = 0;
}

void fault_disarm(void) { length = 0; }

long fault_counted(void) { return __atomic_load_n(&counted, __ATOMIC_SEQ_CST); }

/* The name and the path of the first call that failed, or "". */
const char *fault_met(void) { return met; }

static int below(const char *path) {
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int fails(const char *name, const char *path) {
    if (!length || !below(path))
        return 0;
    long k = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    if (k != at && !(lasting && at && k > at))
        return 0;
    if (k == at)
        snprintf(met, sizeof met, "%s %s", name, path + length);
    errno = error;
    return 1;
}

static int fails_fd(const char *name, int fd) {
    char link[64], path[PATH_MAX];
    if (!length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return fails(name, path);
}

/* The working folder is the armed one, so that a relative path lies below it unless it starts with "..". */
static int fails_at(const char *name, int folder, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    if (!length || !path)
        return 0;
    if (path[0] == '/')
        return fails(name, path);
    ssize_t size = 0;
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX))
            return 0;
        size = strlen(whole);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if ((size = readlink(link, whole, PATH_MAX - 1)) < 0)
            return 0;
    }
    snprintf(whole + size, sizeof whole - size, "/%s", path);
    return fails(name, whole);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(name, ...)                             \
    ({                                              \
        static __typeof__(&name) real;              \
        if (!real)                                  \
            real = REAL(name);                      \
        real(__VA_ARGS__);                          \
    })

ssize_t write(int fd, const void *data, size_t size) {
    return fails_fd("write", fd) ? -1 : CALL(write, fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t place) {
    return fails_fd("write", fd) ? -1 : CALL(pwrite, fd, data, size, place);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    return fails_fd("write", fd) ? -1 : CALL(pwrite64, fd, data, size, place);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fails_fd("write", fd) ? -1 : CALL(writev, fd, parts, count);
}
size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    return fails_fd("write", fileno(file)) ? 0 : CALL(fwrite, data, size, count, file);
}
int ftruncate(int fd, off_t size) { return fails_fd("write", fd) ? -1 : CALL(ftruncate, fd, size); }
int ftruncate64(int fd, off64_t size) { return fails_fd("write", fd) ? -1 : CALL(ftruncate64, fd, size); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    return fails_fd("write", out) ? -1 : CALL(copy_file_range, in, from, out, to, size, flags);
}
ssize_t sendfile(int out, int in, off_t *from, size_t size);
ssize_t sendfile(int out, int in, off_t *from, size_t size) {
    return fails_fd("write", out) ? -1 : CALL(sendfile, out, in, from, size);
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t size);
ssize_t sendfile64(int out, int in, off64_t *from, size_t size) {
    return fails_fd("write", out) ? -1 : CALL(sendfile64, out, in, from, size);
}
int fsync(int fd) { return fails_fd("fsync", fd) ? -1 : CALL(fsync, fd); }
int fdatasync(int fd) { return fails_fd("fsync", fd) ? -1 : CALL(fdatasync, fd); }

int rename(const char *one, const char *other) {
    return fails_at("rename", AT_FDCWD, other) ? -1 : CALL(rename, one, other);
}
int renameat(int from, const char *one, int to, const char *other) {
    return fails_at("rename", to, other) ? -1 : CALL(renameat, from, one, to, other);
}
int renameat2(int from, const char *one, int to, const char *other, unsigned flags) {
    return fails_at("rename", to, other) ? -1 : CALL(renameat2, from, one, to, other, flags);
}
int link(const char *one, const char *other) {
    return fails_at("link", AT_FDCWD, other) ? -1 : CALL(link, one, other);
}
int linkat(int from, const char *one, int to, const char *other, int flags) {
    return fails_at("link", to, other) ? -1 : CALL(linkat, from, one, to, other, flags);
}
int symlink(const char *one, const char *other) {
    return fails_at("link", AT_FDCWD, other) ? -1 : CALL(symlink, one, other);
}
int symlinkat(const char *one, int to, const char *other) {
    return fails_at("link", to, other) ? -1 : CALL(symlinkat, one, to, other);
}
int unlink(const char *path) { return fails_at("unlink", AT_FDCWD, path) ? -1 : CALL(unlink, path); }
int unlinkat(int folder, const char *path, int flags) {
    return fails_at("unlink", folder, path) ? -1 : CALL(unlinkat, folder, path, flags);
}
int rmdir(const char *path) { return fails_at("unlink", AT_FDCWD, path) ? -1 : CALL(rmdir, path); }
int mkdir(const char *path, mode_t mode) {
    return fails_at("create", AT_FDCWD, path) ? -1 : CALL(mkdir, path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    return fails_at("create", folder, path) ? -1 : CALL(mkdirat, folder, path, mode);
}

/* Opening a file counts where it may make or empty one; a database is opened for writing only once. */
#define MAKES(flags) ((flags) & (O_CREAT | O_TRUNC) || ((flags) & O_TMPFILE) == O_TMPFILE)
#define MODE(flags)                          \
    mode_t mode = 0;                         \
    if (MAKES(flags)) {                      \
        va_list rest;                        \
        va_start(rest, flags);               \
        mode = va_arg(rest, mode_t);         \
        va_end(rest);                        \
    }
int open(const char *path, int flags, ...) {
    MODE(flags)
    return MAKES(flags) && fails_at("create", AT_FDCWD, path) ? -1 : CALL(open, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    return MAKES(flags) && fails_at("create", AT_FDCWD, path) ? -1 : CALL(open64, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return MAKES(flags) && fails_at("create", folder, path) ? -1 : CALL(openat, folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return MAKES(flags) && fails_at("create", folder, path) ? -1 : CALL(openat64, folder, path, flags, mode);
}
FILE *fopen(const char *path, const char *mode) {
    return mode[0] != 'r' && fails_at("create", AT_FDCWD, path) ? NULL : CALL(fopen, path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    return mode[0] != 'r' && fails_at("create", AT_FDCWD, path) ? NULL : CALL(fopen64, path, mode);
}
