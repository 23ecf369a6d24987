/* SPDX-License-Identifier: MIT */
#include "workers/confine.h"

#include "common/mem.h"
#include "workers/landlock.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- between processes ------------------------------------------------------------- */

enum status confine_args(const struct confinement *confinement,
                         char *ret_args[CONFINE_ARGS_MAX], char **ret_text)
{
    const struct {
        const char *name, *value; /* the value NULL: it is not said */
    } words[] = { { "sandbox", confinement->sandbox ? "" : NULL },
                  { "scratch=", confinement->scratch },
                  { "data=", confinement->data },
                  { "write=", confinement->write },
                  { "cgroup=", confinement->cgroup.base },
                  { "cgroup-mount=", confinement->cgroup.mount },
                  { "cgroup-kill", confinement->cgroup.kill ? "" : NULL },
                  { "cgroup-memory", confinement->cgroup.memory ? "" : NULL },
                  { "cgroup-pids", confinement->cgroup.pids ? "" : NULL } };
    size_t room = 64, count = 0;
    char *at;

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        room += words[i].value ? strlen(words[i].value) + 16 : 0;
    at = *ret_text = mem_zalloc(room);
    if (!at)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (!words[i].value)
            continue;
        ret_args[count++] = at;
        at += sprintf(at, "%s%s", words[i].name, words[i].value) + 1;
    }
    if (confinement->has_user) {
        ret_args[count++] = at;
        (void)sprintf(at, "user=%u:%u", confinement->uid, confinement->gid);
    }
    ret_args[count] = NULL;
    return ST_OK;
}

static const char *value_of(const char *arg, const char *name)
{
    size_t len = strlen(name);

    return strncmp(arg, name, len) == 0 ? arg + len : NULL;
}

static bool parse_word(const char *word, struct confinement *found)
{
    const struct {
        const char *name;
        bool *is;
    } flags[] = { { "sandbox", &found->sandbox },
                  { "cgroup-kill", &found->cgroup.kill },
                  { "cgroup-memory", &found->cgroup.memory },
                  { "cgroup-pids", &found->cgroup.pids } };
    const struct {
        const char *name, **value;
    } paths[] = { { "scratch=", &found->scratch },
                  { "data=", &found->data },
                  { "write=", &found->write },
                  { "cgroup=", &found->cgroup.base },
                  { "cgroup-mount=", &found->cgroup.mount } };
    const char *value;

    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        if (strcmp(word, flags[i].name) == 0)
            return *flags[i].is = true;
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        if ((value = value_of(word, paths[i].name))) {
            *paths[i].value = value;
            return true;
        }
    value = value_of(word, "user=");
    found->has_user = value && sscanf(value, "%u:%u", &found->uid, &found->gid) == 2;
    return found->has_user;
}

bool confine_parse(int argc, char **argv, struct confinement *ret_confinement)
{
    struct confinement found = { 0 };

    for (int i = 0; i < argc; i++)
        if (!parse_word(argv[i], &found))
            return false;
    *ret_confinement = found;
    return true;
}

static bool parse_id(const char **text, unsigned *ret_id)
{
    char *end;
    unsigned long id;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    id = strtoul(*text, &end, 10);
    if (errno || id >= UINT32_MAX)
        return false;
    *text = end;
    *ret_id = (unsigned)id;
    return true;
}

enum status confine_user(const char *text, uid_t *ret_uid, gid_t *ret_gid)
{
    const char *at = text;
    const struct passwd *user;

    if (!parse_id(&at, ret_uid)) {
        user = getpwnam(text);
    } else if (*at == ':') {
        at++;
        return parse_id(&at, ret_gid) && !*at ? ST_OK : ST_NOT_FOUND;
    } else {
        user = *at ? NULL : getpwuid(*ret_uid);
        if (!user && !*at) { /* a number without a name is its own group */
            *ret_gid = *ret_uid;
            return ST_OK;
        }
    }
    if (!user)
        return ST_NOT_FOUND;
    *ret_uid = user->pw_uid;
    *ret_gid = user->pw_gid;
    return ST_OK;
}

/* ---- seccomp ----------------------------------------------------------------------- */

/* Nothing that computes needs one of these; holes in kernels are found in them, or they
 * reach into other processes. */
static const char *const denied_calls[] = {
#ifndef __SANITIZE_ADDRESS__ /* which looks for leaks by it */
    "ptrace",
#endif
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kcmp",
    "pidfd_getfd",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "swapon",
    "swapoff",
    "quotactl",
    "quotactl_fd",
    "open_by_handle_at",
    "name_to_handle_at",
    "setns",
    "unshare",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "acct",
    "syslog",
    "vhangup",
    "iopl",
    "ioperm",
    "settimeofday",
    "clock_settime",
    "stime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "lookup_dcookie",
    "nfsservctl",
    "uselib",
    "modify_ldt",
    "fanotify_init",
};

/* Families of sockets that are for administrators, and a route into the kernel. Routing
 * tables (protocol 0 of netlink) are what getifaddrs reads. */
static const struct {
    int family;
    bool but_protocol_0;
} denied_sockets[] = { { AF_PACKET, false }, { AF_NETLINK, true }, { AF_ALG, false },
                       { AF_KEY, false },    { AF_XDP, false },    { AF_VSOCK, false } };

#define NAMESPACES                                                                       \
    (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |          \
     CLONE_NEWNET | CLONE_NEWCGROUP)

static int add_calls(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < sizeof(denied_calls) / sizeof(*denied_calls);
         i++) {
        int call = seccomp_syscall_resolve_name(denied_calls[i]);

        if (call != __NR_SCMP_ERROR)
            error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
        if (error == -EDOM) /* not on this architecture */
            error = 0;
    }
    return error;
}

static int add_sockets(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < sizeof(denied_sockets) / sizeof(*denied_sockets);
         i++)
        error = seccomp_rule_add(
            filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket),
            denied_sockets[i].but_protocol_0 ? 2 : 1,
            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)denied_sockets[i].family, 0),
            SCMP_A2(SCMP_CMP_NE, 0, 0));
    return error;
}

/* Each flag is a rule of its own: a mask of several would have to match as a whole. */
static int add_namespaces(scmp_filter_ctx filter)
{
    int error = 0;

    for (unsigned bit = 1; error == 0 && bit != 0; bit <<= 1)
        if (bit & NAMESPACES)
            error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                     SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit));
    /* Its flags are in memory, where no filter can see them. Libraries fall back to the
     * older call. */
    if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return error;
}

static int load_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error;

    if (!filter)
        return -ENOMEM;
    /* With it, calls that are always allowed cost nothing on newer kernels. */
    error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1);
    if (error == 0)
        error = add_calls(filter);
    if (error == 0)
        error = add_sockets(filter);
    if (error == 0)
        error = add_namespaces(filter);
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error;
}

enum status confine_filter(const struct confinement *confinement, struct error_text *err)
{
    int error = 0;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        error = -errno;
    if (error == 0 && confinement->sandbox && confine_support().seccomp)
        error = load_filter();
    return error == 0 ? ST_OK
                      : error_set(err, ST_IO, "the filter for system calls: %s",
                                  strerror(-error));
}

/* ---- the rest ---------------------------------------------------------------------- */

struct confine_support confine_support(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;

    return (struct confine_support){
        .seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0,
        .landlock = landlock_version(),
    };
}

static enum status become_user(const struct confinement *confinement,
                               struct error_text *err)
{
    if (setgroups(0, NULL) == -1 ||
        setresgid(confinement->gid, confinement->gid, confinement->gid) == -1 ||
        setresuid(confinement->uid, confinement->uid, confinement->uid) == -1)
        return error_set(err, ST_DENIED, "the user of tasks, %u: %s", confinement->uid,
                         strerror(errno));
    /* Or it could not see itself in /proc. The others of this user are kept away from it
     * by the filter. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return ST_OK;
}

enum status confine_self(const struct confinement *confinement, const char *scratch,
                         struct error_text *err)
{
    const struct landlock_plan plan = {
        .hidden = confinement->data,
        .frozen = confinement->cgroup.mount,
        .write = confinement->write,
        .scratch = scratch ? scratch : confinement->scratch,
    };
    enum status st = ST_OK;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        return error_set(err, ST_IO, "no_new_privs: %s", strerror(errno));
    if (confinement->sandbox && landlock_version() > 0)
        st = landlock_enter(&plan, err);
    if (st == ST_OK && confinement->has_user)
        st = become_user(confinement, err);
    return st;
}
