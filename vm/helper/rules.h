/*
 * vm/helper: who may have which interface.
 *
 * A file of lines "WHO INTERFACES [BRIDGE]". WHO is a user's name or number, @GROUP, or * for
 * anyone; INTERFACES is a pattern as the shell has it; BRIDGE is what such an interface becomes a
 * port of. "pci:" and a pattern of addresses, in place of INTERFACES, is PCI functions of the host
 * ("pci:0000:01:00.*"). '#' begins a comment. The first line that fits counts; without one the
 * answer is no. Root needs no line.
 */
#ifndef VM_HELPER_RULES_H
#define VM_HELPER_RULES_H

#include "base/base.h"

#include <sys/types.h>

/* Who asks, as the kernel tells of the other end of a socket. */
struct helper_peer {
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t n_groups;
};

struct helper_rules;

/* Reads TEXT; names of users and groups are looked up now. Errors name the line of PATH. */
struct helper_rules *helper_rules_parse(const char *path, const char *text, GError **err);
/* The same from a file; one that is not there allows root alone. */
struct helper_rules *helper_rules_load(const char *path, GError **err);
void helper_rules_free(struct helper_rules *rules);

#define HELPER_HOST_PREFIX "pci:"

/* Whether any line is of PCI functions: else nobody has one, and vmd-helper could not give it. */
bool helper_rules_hosts(const struct helper_rules *rules);

/* Whether PEER may have interface NAME, or with its prefix a PCI function; BRIDGE gets what it is
 * to be a port of, or NULL. */
bool helper_rules_allow(const struct helper_rules *rules, const struct helper_peer *peer,
                        const char *name, const char **bridge);

#endif
