/* Steps the wall clock of Python by the seconds in the file $TEST_CLOCK; preloaded by tests.
 *
 * The monotonic clock stays, as when somebody sets the time. libfaketime 0.9.10 cannot do that for
 * Python 3.11: its clock_nanosleep then fails. The C++ of Ray is left alone: its threads wait for
 * moments of the wall clock, which the kernel would compare with the true one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int (*true_clock)(clockid_t, struct timespec *);

static int is_python(void *caller)
{
    Dl_info place;
    if (!dladdr(caller, &place) || !place.dli_fname)
        return 0;
    const char *name = strrchr(place.dli_fname, '/');
    name = name ? name + 1 : place.dli_fname;
    return !strncmp(name, "python", 6) || !strncmp(name, "libpython", 9);
}

static long step(void)
{
    static long seconds;
    static time_t read_at;
    struct timespec now;
    true_clock(CLOCK_MONOTONIC, &now);
    if (now.tv_sec != read_at) {
        FILE *file = fopen(getenv("TEST_CLOCK") ? getenv("TEST_CLOCK") : "", "r");
        if (file) {
            if (fscanf(file, "%ld", &seconds) != 1)
                seconds = 0;
            fclose(file);
        }
        read_at = now.tv_sec;
    }
    return seconds;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    if (!true_clock)
        true_clock = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = true_clock(which, now);
    if (!failed && which == CLOCK_REALTIME && is_python(__builtin_return_address(0)))
        now->tv_sec += step();
    return failed;
}
