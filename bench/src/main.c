/* The runner, and PID 1.
 *
 *   xb run SEL[,SEL...]   SEL is a group, a name or "all"
 *   xb gen BYTES          the deterministic text, to stdout
 *   xb true               exit 0 (the target of forkexec)
 *   as PID 1              mounts, runs xb=SEL of the kernel command line,
 *                         powers off
 *
 * Beside the built-in list, lines of /xb.list (or $XB_LIST) name programs:
 *   name TAB group TAB want TAB command
 * want is the first 16 hex digits of the output's SHA-256, or "~TEXT" for a
 * text the output must contain, or "-". The line is skipped when the
 * program is not there. A command with shell characters goes to /bin/sh.
 *
 * Each result is one line: RESULT name seconds cpu-seconds ok|BAD value
 */
#define _GNU_SOURCE
#include "xb.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double t0, c0;
static double cpu_used(void);

double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

void start(void)
{
    printf("BEGIN\n"); /* the host stamps this, and END, too */
    fflush(stdout);
    c0 = cpu_used();
    t0 = now();
}

u64 rnd(u64 *s)
{
    u64 z = *s += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

void *xalloc(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        _exit(3);
    }
    return p;
}

void gen_text(u8 *p, size_t n)
{
    static char w[2048][12];
    u64 s = 2024;
    size_t o = 0;

    for (size_t i = 0; i < ARRLEN(w); i++) {
        int l = 2 + rnd(&s) % 8;
        memset(w[i], 0, sizeof w[i]);
        for (int k = 0; k < l; k++)
            w[i][k] = "etaoinshrdlucmfwypvbgkqjxz"[(rnd(&s) % 26) * (rnd(&s) % 26) / 26];
    }
    while (o < n) {
        u64 r = rnd(&s);
        const char *q = w[(r % 2048) * (r >> 32 & 2047) / 2048];
        while (*q && o < n)
            p[o++] = *q++;
        if (o < n)
            p[o++] = r >> 60 == 0 ? '\n' : r >> 60 == 1 ? ',' : ' ';
    }
}

static int chosen(const char *sel, const char *name, const char *group)
{
    char buf[1024], *save, *p;
    snprintf(buf, sizeof buf, "%s", sel);
    for (p = strtok_r(buf, ",", &save); p; p = strtok_r(NULL, ",", &save))
        if (!strcmp(p, "all") || !strcmp(p, name) || !strcmp(p, group))
            return 1;
    return 0;
}

static double cpu_used(void) /* of this process and its dead children */
{
    struct timespec ts;
    struct rusage ru;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    getrusage(RUSAGE_CHILDREN, &ru);
    return ts.tv_sec + ts.tv_nsec * 1e-9 + ru.ru_utime.tv_sec + ru.ru_utime.tv_usec * 1e-6 +
           ru.ru_stime.tv_sec + ru.ru_stime.tv_usec * 1e-6;
}

static void result(const char *name, double t, double c, int ok, const char *val)
{
    printf("RESULT %s %.6f %.6f %s %s\n", name, t, c, ok ? "ok" : "BAD", val);
    fflush(stdout);
}

static int reap(pid_t p)
{
    int st = -1;
    while (waitpid(p, &st, 0) < 0 && errno == EINTR)
        ;
    return st;
}

static void builtin(const struct bench *b)
{
    fflush(stdout);
    pid_t p = fork();
    if (!p) {
        char v[32];
        start();
        u64 got = b->fn();
        double t = now() - t0, c = cpu_used() - c0;
        snprintf(v, sizeof v, "0x%llx", (unsigned long long)got);
        result(b->name, t, c, got == b->want, v);
        _exit(0);
    }
    int st = reap(p);
    if (st)
        printf("FAIL %s status 0x%x\n", b->name, st);
    fflush(stdout);
}

static void run_cmd(char *cmd, const char *out)
{
    int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int nul = open("/dev/null", O_RDWR);
    dup2(nul, 0);
    dup2(fd, 1);
    dup2(getenv("XB_DEBUG") ? 2 : nul, 2);
    if (strpbrk(cmd, "|<>;&$\"'*(`")) {
        execl("/bin/sh", "sh", "-c", cmd, NULL);
    } else {
        char *av[32], *save;
        int n = 0;
        for (char *q = strtok_r(cmd, " ", &save); q && n < 31; q = strtok_r(NULL, " ", &save))
            av[n++] = q;
        av[n] = NULL;
        execvp(av[0], av);
    }
    _exit(127);
}

#define TEXT "/tmp/xb.txt" /* 8 MB of text, made when first needed */
static void text(void)
{
    size_t n = 8 << 20;
    u8 *p = xalloc(n);
    FILE *f = fopen(TEXT, "w");
    gen_text(p, n);
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        perror(TEXT);
    munmap(p, n);
}

static void external(char *line)
{
    char *name = line, *group, *want, *cmd, val[20];
    static const char out[] = "/tmp/xb.out";
    struct sha256 s;
    u8 d[32], *p = NULL;
    struct stat sb;

    if (!(group = strchr(name, '\t')))
        return;
    *group++ = 0;
    if (!(want = strchr(group, '\t')))
        return;
    *want++ = 0;
    if (!(cmd = strchr(want, '\t')))
        return;
    *cmd++ = 0;

    if (strstr(cmd, TEXT) && access(TEXT, R_OK))
        text();
    start();
    pid_t pid = fork();
    if (!pid)
        run_cmd(cmd, out);
    int st = reap(pid);
    double t = now() - t0, c = cpu_used() - c0;
    printf("END\n"); /* the check's own time is not counted */
    fflush(stdout);

    int fd = open(out, O_RDONLY);
    if (fd >= 0 && !fstat(fd, &sb) && sb.st_size)
        p = mmap(NULL, sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    else
        sb.st_size = 0;
    sha256_init(&s);
    sha256_add(&s, p, sb.st_size);
    sha256_end(&s, d);
    for (int i = 0; i < 8; i++)
        sprintf(val + 2 * i, "%02x", d[i]);
    int ok = st == 0;
    if (*want == '~')
        ok = ok && p && memmem(p, sb.st_size, want + 1, strlen(want + 1));
    else if (*want != '-')
        ok = ok && !strcmp(want, val);
    if (st)
        snprintf(val, sizeof val, "status-0x%x", st);
    result(name, t, c, ok, val);
    if (fd >= 0)
        close(fd);
    unlink(out);
}

static void run(const char *sel)
{
    const struct bench *sets[] = {int_benches, fp_benches, mem_benches, sys_benches};
    const char *file = getenv("XB_LIST");
    char line[2048], tmp[2048], name[64], group[32], prog[128];
    FILE *f;

    for (size_t i = 0; i < ARRLEN(sets); i++)
        for (const struct bench *b = sets[i]; b->name; b++)
            if (chosen(sel, b->name, b->group))
                builtin(b);
    f = fopen(file ? file : "/xb.list", "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (*line == '#' || sscanf(line,
                                   "%63[^\t]\t%31[^\t]\t%*[^\t]\t"
                                   "%127s",
                                   name, group, prog) != 3)
            continue;
        if (!chosen(sel, name, group) || access(prog, X_OK))
            continue;
        strcpy(tmp, line);
        external(tmp);
    }
    if (f)
        fclose(f);
}

static void pid1(void)
{
    char cmd[4096] = "", sel[1024] = "all", *p;
    double up = 0;
    int fd;

    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mkdir("/tmp", 01777);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
    setenv("PATH", "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", 1);
    setenv("HOME", "/tmp", 1);
    if ((fd = open("/dev/console", O_RDWR)) >= 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        dup2(fd, 2);
    }
    if ((fd = open("/proc/uptime", O_RDONLY)) >= 0) {
        char b[64] = "";
        if (read(fd, b, 63) > 0)
            up = atof(b);
        close(fd);
    }
    printf("\nXB-INIT %.2f\n", up);
    fflush(stdout);
    if ((fd = open("/proc/cmdline", O_RDONLY)) >= 0) {
        ssize_t n = read(fd, cmd, sizeof cmd - 1);
        cmd[n > 0 ? n : 0] = 0;
        close(fd);
    }
    for (p = strtok(cmd, " \n"); p; p = strtok(NULL, " \n"))
        if (!strncmp(p, "xb=", 3))
            snprintf(sel, sizeof sel, "%s", p + 3);
    if (strcmp(sel, "none"))
        run(sel);
    printf("XB-DONE\n");
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    if (getpid() == 1 && (argc < 2 || strcmp(argv[1], "run")))
        pid1();
    if (argc > 1 && !strcmp(argv[1], "true"))
        return 0;
    if (argc > 2 && !strcmp(argv[1], "gen")) {
        size_t n = strtoul(argv[2], NULL, 0);
        u8 *p = xalloc(n);
        gen_text(p, n);
        return fwrite(p, 1, n, stdout) != n;
    }
    if (argc > 2 && !strcmp(argv[1], "run")) {
        run(argv[2]);
        return 0;
    }
    fprintf(stderr, "usage: xb run SEL | gen BYTES | true\n");
    return 2;
}
