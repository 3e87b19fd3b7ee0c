/* The programs that the benchmarks start, and the limits that they compare with. programs.py has the same in Python. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BIG (256 * 1024)
#define PIPE_SIZE (1 << 20)

static char buffer[BIG];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Blocks of `size` bytes to `descriptor` until nobody reads. */
static int write_blocks(int descriptor, size_t size)
{
    memset(buffer, 'x', sizeof buffer);
    while (write(descriptor, buffer, size) > 0)
        ;
    return 0;
}

/* `count` lines of `size` bytes, each in a write of its own. */
static int write_lines(size_t size, long count)
{
    memset(buffer, 'x', size);
    buffer[size - 1] = '\n';
    for (long line = 0; line < count; line++)
        if (write(1, buffer, size) < 0)
            return 1;
    return 0;
}

static int read_all(void)
{
    while (read(0, buffer, sizeof buffer) > 0)
        ;
    return 0;
}

static int echo(void)
{
    ssize_t size;
    while ((size = read(0, buffer, sizeof buffer)) > 0)
        if (write(1, buffer, size) != size)
            return 1;
    return 0;
}

/* On a terminal: no echo, no lines; begin when something is typed, and say so. */
static int typed(void)
{
    struct termios mode;
    char key;
    if (tcgetattr(0, &mode) < 0)
        return 1;
    mode.c_lflag &= ~(ECHO | ICANON);
    if (tcsetattr(0, TCSANOW, &mode) < 0 || read(0, &key, 1) != 1)
        return 1;
    return write(1, "go\n", 3) != 3;
}

/* Bytes per second through a pipe of 1 MiB, from a child that writes blocks to a parent that reads them. */
static int pipe_limit(size_t size, double seconds)
{
    int ends[2];
    if (pipe(ends) < 0)
        return 1;
    pid_t writer = fork();
    if (writer < 0)
        return 1;
    if (writer == 0) {
        close(ends[0]);
        return write_blocks(ends[1], size);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_SIZE);
    double begin = now() + seconds / 5, end = begin + seconds, time;
    unsigned long long bytes = 0;
    ssize_t got;
    while ((got = read(ends[0], buffer, sizeof buffer)) > 0) {
        time = now();
        if (time >= end)
            break;
        if (time >= begin)
            bytes += got;
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    printf("%.0f\n", bytes / seconds);
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "typed") && argc > 2) {
        /* What is on a terminal stays until that is gone: its last words are not to be lost with it. */
        argv++;
        return typed() || main(argc - 1, argv) || read_all();
    }
    if (!strcmp(verb, "write") && argc == 3)
        return write_blocks(1, strtoul(argv[2], NULL, 10));
    if (!strcmp(verb, "lines") && argc == 4)
        return write_lines(strtoul(argv[2], NULL, 10), atol(argv[3]));
    if (!strcmp(verb, "read") && argc == 2)
        return read_all();
    if (!strcmp(verb, "echo") && argc == 2)
        return echo();
    if (!strcmp(verb, "idle") && argc == 2)
        return pause();
    if (!strcmp(verb, "limit") && argc == 4)
        return pipe_limit(strtoul(argv[2], NULL, 10), atof(argv[3]));
    fprintf(stderr, "[typed] write SIZE | lines SIZE COUNT | read | echo | idle | limit SIZE SECONDS\n");
    return 2;
}
