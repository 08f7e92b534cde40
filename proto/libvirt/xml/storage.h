/*
 * proto/libvirt/xml: storage pools of type dir and their volumes as libvirt's XML, and back. What is not
 * said here is dropped. Any thread.
 */
#ifndef PROTO_LIBVIRT_XML_STORAGE_H
#define PROTO_LIBVIRT_XML_STORAGE_H

#include "base/base.h"

struct pool_xml {
    char *name, *uuid, *path; /* UUID NULL: none was given */
};

/* OUT's texts are the caller's. False with VMD_ERROR_INVALID or VMD_ERROR_UNSUPPORTED. */
bool pool_xml_read(const char *text, struct pool_xml *out, GError **err);
void pool_xml_clear(struct pool_xml *p);

struct pool_state {
    uint64_t capacity, allocation, available; /* bytes of the file system */
    bool there;                               /* its folder, whose rights follow */
    uint32_t mode, uid, gid;
};

/* The caller frees. */
char *pool_xml_write(const struct pool_xml *p, const struct pool_state *s);

struct volume_xml {
    char *name;
    uint64_t capacity, allocation; /* bytes */
    bool has_allocation, qcow2;
    char *backing; /* NULL: none */
    bool backing_qcow2;
};

/* The same for a volume that is to be made. */
bool volume_xml_read(const char *text, struct volume_xml *out, GError **err);
void volume_xml_clear(struct volume_xml *v);

struct volume_state {
    uint64_t capacity, allocation, physical; /* bytes */
    bool qcow2;
    uint32_t mode, uid, gid;
};

/* The caller frees. */
char *volume_xml_write(const char *name, const char *path, const struct volume_state *s);

#endif
