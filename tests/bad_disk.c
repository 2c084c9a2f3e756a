/* A disk that fails, and a clock that jumps, for the tests: loaded into the program with LD_PRELOAD.
 *
 * What is to fail is said in a file that the test writes and this maps, BAD_DISK: see `struct plan`.
 * Only files of the database count: NAME.db, NAME.db-wal and NAME.db-shm.
 *
 * With BAD_DISK_SHADOW set, NAME.db.disk and NAME.db-wal.disk are what would be left after a power
 * cut: what was synced. As Linux does, a sync that fails forgets what it was to write: the next one
 * succeeds, and what was forgotten is on the disk only if it is written again. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DATABASE = 1, LOG = 2, INDEX = 4 };
enum { WRITE = 1, SYNC = 2, TRUNCATE = 4 };
enum { SHORT = 1000, KILL = 1001 }; /* beside the system's errors */
enum { PAGE = 4096, PAGES = 1 << 15 };

struct plan {
    uint64_t armed;
    uint64_t skip;  /* so many calls go well first */
    uint64_t fail;  /* and so many fail then */
    uint64_t error; /* with this error, or SHORT or KILL */
    uint64_t files;
    uint64_t calls;
    uint64_t seen;   /* calls that this counted */
    uint64_t failed; /* calls that this had fail */
    int64_t ahead;   /* by how many microseconds the clock is wrong */
};

static struct plan nothing;
static volatile struct plan *plan = &nothing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What was written since the last sync, of the database and of its log. */
static struct shadow { int fd; unsigned char dirty[PAGES]; } shadows[2] = { { -1, {0} }, { -1, {0} } };
static int with_shadows;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("BAD_DISK");
    if (!path) return;
    int fd = open(path, O_RDWR);
    void *at = fd < 0 ? MAP_FAILED
                      : mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) abort();
    close(fd);
    plan = at;
    with_shadows = getenv("BAD_DISK_SHADOW") != NULL;
}

static int ends(const char *text, const char *end) {
    size_t length = strlen(text), of_end = strlen(end);
    return length >= of_end && strcmp(text + length - of_end, end) == 0;
}

/* Which file of a database this is, or 0. */
static unsigned file_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlink, link, path, 4000);
    if (length <= 0) return 0;
    path[length] = 0;
    return ends(path, ".db") ? DATABASE : ends(path, ".db-wal") ? LOG
         : ends(path, ".db-shm") ? INDEX : 0;
}

/* What was there before anything failed is on the disk. */
static void fill(int shadow, const char *path) {
    unsigned char bytes[PAGE];
    int fd = open(path, O_RDONLY);
    for (ssize_t length; (length = read(fd, bytes, PAGE)) > 0;) {
        if (syscall(SYS_write, shadow, bytes, length) != length) abort();
    }
    close(fd);
}

static struct shadow *shadow_of(unsigned file, const char *path) {
    if (!with_shadows || (file != DATABASE && file != LOG)) return NULL;
    struct shadow *shadow = &shadows[file - 1];
    if (shadow->fd < 0) {
        char name[4096];
        snprintf(name, sizeof name, "%s.disk", path);
        shadow->fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (shadow->fd >= 0) fill(shadow->fd, path);
        else shadow->fd = open(name, O_RDWR);
        if (shadow->fd < 0) abort();
    }
    return shadow;
}

static void wrote(unsigned file, const char *path, off_t from, size_t length) {
    struct shadow *shadow = shadow_of(file, path);
    if (!shadow || !length) return;
    for (off_t page = from / PAGE; page <= (off_t)(from + length - 1) / PAGE; page++) {
        if (page >= PAGES) abort();
        shadow->dirty[page] = 1;
    }
}

static void synced(unsigned file, const char *path, int fd, int well) {
    struct shadow *shadow = shadow_of(file, path);
    struct stat now;
    if (!shadow || fstat(fd, &now)) return;
    for (off_t page = 0; page < PAGES; page++) {
        unsigned char bytes[PAGE];
        if (!shadow->dirty[page]) continue;
        shadow->dirty[page] = 0;
        if (!well) continue;
        ssize_t length = pread(fd, bytes, PAGE, page * PAGE);
        if (length > 0 && syscall(SYS_pwrite64, shadow->fd, bytes, length, page * PAGE) != length) abort();
    }
    if (well && syscall(SYS_ftruncate, shadow->fd, now.st_size)) abort();
}

/* Whether this call is to fail, and how. */
static uint64_t fault(unsigned file, unsigned call) {
    if (!plan->armed || !(plan->files & file) || !(plan->calls & call)) return 0;
    uint64_t number = plan->seen++;
    if (number < plan->skip || number - plan->skip >= plan->fail) return 0;
    plan->failed++;
    if (plan->error == KILL) kill(getpid(), SIGKILL);
    return plan->error;
}

static ssize_t writing(int fd, const void *bytes, size_t length, off_t at) {
    char path[4096];
    unsigned file = plan == &nothing ? 0 : file_of(fd, path);
    if (!file) {
        return at < 0 ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, at);
    }
    pthread_mutex_lock(&lock);
    shadow_of(file, path);
    uint64_t error = fault(file, WRITE);
    ssize_t written = -1;
    if (error == SHORT) {
        /* Half of it, and no more: the disk is full in the middle. */
        off_t from = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
        ssize_t half = syscall(SYS_pwrite64, fd, bytes, length / 2, from);
        if (half > 0) wrote(file, path, from, half);
        errno = ENOSPC;
    } else if (error) {
        errno = (int)error;
    } else {
        off_t from = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
        written = at < 0 ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, at);
        if (written > 0) wrote(file, path, from, written);
    }
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) { return writing(fd, bytes, length, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return writing(fd, bytes, length, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return writing(fd, bytes, length, at); }

static int changing(int fd, unsigned call, long number, off_t size) {
    char path[4096];
    unsigned file = plan == &nothing ? 0 : file_of(fd, path);
    if (!file) return syscall(number, fd, size);
    pthread_mutex_lock(&lock);
    shadow_of(file, path);
    uint64_t error = fault(file, call);
    int result = -1;
    if (error) errno = error == SHORT ? ENOSPC : (int)error;
    else result = syscall(number, fd, size);
    int kept = errno;
    if (call == SYNC) synced(file, path, fd, result == 0);
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}

int fsync(int fd) { return changing(fd, SYNC, SYS_fsync, 0); }
int fdatasync(int fd) { return changing(fd, SYNC, SYS_fdatasync, 0); }
int ftruncate(int fd, off_t size) { return changing(fd, TRUNCATE, SYS_ftruncate, size); }
int ftruncate64(int fd, off_t size) { return changing(fd, TRUNCATE, SYS_ftruncate, size); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && plan->ahead) {
        int64_t nanos = time->tv_nsec + plan->ahead % 1000000 * 1000;
        time->tv_sec += plan->ahead / 1000000 + (nanos >= 1000000000) - (nanos < 0);
        time->tv_nsec = (nanos + 1000000000) % 1000000000;
    }
    return result;
}
