/* What a program may do wrong, by the event's text. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char event[64];
static volatile int zero = 0;
static char *volatile kept;

static int is(const char *name)
{
    return strcmp(event, name) == 0;
}

static void inner(int number)
{
    fprintf(stderr, "bad number %d\n", number);
    abort();
}

__attribute__((noinline)) static int deeper(int number)
{
    volatile char room[500];
    room[number % 500] = number;
    return deeper(number + 1) + room[0];
}

static int small_steps(int number)
{
    return zero ? number : small_steps(number + 1) * 2 + small_steps(number + 2);
}

static void eat(size_t step)
{
    fputs("eating\n", stderr);
    for (;;) {
        char *more = malloc(step);
        if (more == NULL)
            abort();
        kept = memset(more, 1, step);
    }
}

static int reads(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int writes(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void look_around(void)
{
    unlink("/tmp/out");
    int linked = symlink("/etc", "/tmp/out") == 0 || symlink("../../etc", "/tmp/out") == 0;
    int seen = reads("/") + reads("/etc/passwd") + reads("/proc/self/environ") + reads("/run/nimbus/runner.sock");
    seen += reads("/tmp/../etc/passwd") + reads("..") + (linked && reads("/tmp/out/passwd"));
    int written = writes("/x") + writes("/var/task/x") + writes("/tmp/../x") + writes("x");
    printf("[%d, %d]\n", seen, written);
}

static void keep_in_tmp(void)
{
    struct stat found = {0};
    stat("/tmp/kept", &found);
    FILE *file = fopen("/tmp/kept", "a");
    if (file == NULL || fputc('x', file) == EOF || fclose(file) != 0)
        abort();
    printf("%d\n", (int)found.st_size);
}

static void fill_tmp(void)
{
    static char block[1 << 20];
    int fd = open("/tmp/big", O_WRONLY | O_CREAT, 0600);
    for (int n = 0; n < 1000; n++)
        if (write(fd, block, sizeof block) < (ssize_t)sizeof block && write(fd, block, sizeof block) < 0)
            break;
    printf("\"%s\"\n", errno == ENOSPC ? "ENOSPC" : errno == EFBIG ? "EFBIG" : strerror(errno));
    close(fd);
    unlink("/tmp/big");
}

static int fails(void)
{
    if (is("hang")) {
        fputs("waiting\n", stderr);
        sleep(3600);
    } else if (is("spin")) {
        fputs("spinning\n", stderr);
        while (!zero) {
        }
    } else if (is("panics")) {
        inner(3);
    } else if (is("divides_by_zero")) {
        return event[0] / zero;
    } else if (is("unreachable")) {
        __builtin_trap();
    } else if (is("recurses")) {
        return deeper(1);
    } else if (is("recurses_lightly")) {
        return small_steps(1);
    } else if (is("eats")) {
        eat(1 << 20);
    } else if (is("reads_outside")) {
        return *(volatile char *)(uintptr_t)0xfffffff0;
    } else if (is("calls_nothing")) {
        return ((int (*)(void))(uintptr_t)(zero + 99999))();
    } else if (is("calls_wrong_type")) {
        return ((int (*)(double, double))(uintptr_t)inner)(1, 2);
    } else if (is("exits_3")) {
        fputs("leaving\n", stderr);
        exit(3);
    } else if (is("returns_4")) {
        puts("\"ignored\"");
        return 4;
    } else if (is("aborts")) {
        abort();
    }
    return -1;
}

static void prints(void)
{
    static char much[5001 * 2];
    for (int n = 0; n < 10000; n++)
        much[n] = n % 2 ? '\n' : 'y';
    if (is("logs_endlessly"))
        for (;;)
            fputs("y\n", stderr);
    if (is("logs_endlessly_without_newline"))
        for (;;)
            fputs("yyyyyyyyyyyyyyyy", stderr);
    if (is("result_endless"))
        for (;;)
            fputs("yyyyyyyyyyyyyyyy", stdout);
    if (is("floods"))
        for (int n = 0; n < 300; n++)
            fputs(much, stderr);
    if (is("many_lines"))
        for (int n = 0; n < 10000; n++)
            fprintf(stderr, "line %d\n", n);
    if (is("floods") || is("many_lines") || is("exits_0"))
        puts("\"done\"");
    if (is("result_large"))
        printf("\"%0*d\"\n", 7 << 20, 1);
    if (is("result_text"))
        puts("Hello, world");
    if (is("result_two"))
        puts("1\n2");
    if (is("result_nan"))
        puts("NaN");
    if (is("result_bytes"))
        puts("\"\xff\"");
}

int main(void)
{
    if (scanf("\"%63[^\"]", event) != 1)
        return 99;
    int code = fails();
    if (code >= 0)
        return code;
    if (is("looks_around"))
        look_around();
    else if (is("keeps_in_tmp"))
        keep_in_tmp();
    else if (is("fills_tmp"))
        fill_tmp();
    else
        prints();
    return 0;
}
