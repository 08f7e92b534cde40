/*
 * tests/diff/oracle.c: see oracle.h. Program and output are files in memory, used again and again.
 */
#include "tests/diff/oracle.h"

#include <errno.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct diff_oracle {
    const char *qemu, *cpu;
    int program, output;
};

struct diff_oracle *diff_oracle_new(const char *qemu, const char *cpu)
{
    struct diff_oracle *o = g_new0(struct diff_oracle, 1);

    *o = (struct diff_oracle){.qemu = qemu, .cpu = cpu,
                              .program = memfd_create("diff", MFD_CLOEXEC),
                              .output = memfd_create("diff-output", MFD_CLOEXEC)};
    fchmod(o->program, 0700);
    return o;
}

void diff_oracle_free(struct diff_oracle *o)
{
    close(o->program);
    close(o->output);
    g_free(o);
}

/* posix_spawn() copies nothing of this process, as fork() would. */
static bool spawn(const struct diff_oracle *o, GError **err)
{
    char *argv[] = {(char *)o->qemu, (char *)"-cpu", (char *)o->cpu, (char *)"/proc/self/fd/3", NULL};
    posix_spawn_file_actions_t actions;
    int status = 0;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, o->output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, o->program, 3);
    int r = posix_spawnp(&pid, o->qemu, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r)
        return vmd_fail(err, VMD_ERROR_INTERNAL, "%s: %s", o->qemu, g_strerror(r));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status)
        return vmd_fail(err, VMD_ERROR_INTERNAL, "%s ended with status %#x", o->qemu, status);
    return true;
}

bool diff_oracle_run(struct diff_oracle *o, const uint8_t *image, size_t size, GByteArray *output,
                     GError **err)
{
    if (pwrite(o->program, image, size, 0) != (ssize_t)size || ftruncate(o->program, (off_t)size) ||
        lseek(o->output, 0, SEEK_SET))
        return vmd_fail(err, VMD_ERROR_INTERNAL, "no room for a program: %s", g_strerror(errno));
    if (!spawn(o, err))
        return false;
    g_byte_array_set_size(output, (unsigned)lseek(o->output, 0, SEEK_CUR));
    return pread(o->output, output->data, output->len, 0) == (ssize_t)output->len ||
           vmd_fail(err, VMD_ERROR_INTERNAL, "cannot read what the oracle wrote");
}
