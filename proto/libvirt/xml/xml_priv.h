/* proto/libvirt/xml/xml_priv.h: helpers over libxml2's trees that the files of proto/libvirt/xml
 * share. */
#ifndef PROTO_LIBVIRT_XML_XML_PRIV_H
#define PROTO_LIBVIRT_XML_XML_PRIV_H

#include "proto/libvirt/xml/xml.h"

#include <libxml/tree.h>

enum {
    XML_TEXT_MAX = LIMIT_LIBVIRT_MESSAGE,
    XML_KEPT_MAX = 65536, /* bytes; the schema's for what is kept */
};

/* The root of TEXT, which is to be named NAME; its document is the caller's to free by xml_close().
 */
xmlNode *xml_open(const char *text, const char *name, GError **err);
void xml_close(xmlNode *root);
/* How ROOT's document is read; borrowed until it is closed, NULL for no options. */
void xml_set_options(xmlNode *root, const struct xml_options *options);
const struct xml_options *xml_options(const xmlNode *node);

bool xml_is(const xmlNode *node, const char *name);
/* The first child element NAME, or NULL. */
xmlNode *xml_child(const xmlNode *node, const char *name);
/* The next sibling that is an element, NODE included; for loops over children. */
xmlNode *xml_element(xmlNode *node);
/* Owned by the caller; NULL where there is none. Blanks around a text are taken off. */
char *xml_attr(const xmlNode *node, const char *name);
char *xml_text(const xmlNode *node);
/* Of the child NAME. */
char *xml_child_attr(const xmlNode *node, const char *name, const char *attr);
char *xml_child_text(const xmlNode *node, const char *name);
/* Whether the attribute has that value. */
bool xml_attr_is(const xmlNode *node, const char *name, const char *value);

/* NODE as text that stands alone: namespaces that it uses are declared in it. Owned by the caller.
 */
char *xml_dump(const xmlNode *node);

/* Whether ID is a name that libvirt has for a disk: vd, sd or hd, and letters. */
bool xml_is_target(const char *id);
/* False with VMD_ERROR_UNSUPPORTED: FMT says what. */
bool xml_refuse(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Decimal digits alone. */
bool xml_number(const char *text, uint64_t *out);
/* The bytes that NODE's text and unit say, KiB where it says no unit. */
bool xml_bytes(const xmlNode *node, uint64_t *out, GError **err);
/* The same, bytes where it says no unit. */
bool xml_size(const xmlNode *node, uint64_t *out, GError **err);

/* A row of a table of elements: what is done with one. */
struct xml_rule {
    const char *name;
    /* NULL: dropped. False with ERR. */
    bool (*read)(struct vm_config *config, xmlNode *node, GError **err);
    const char *refused; /* why it cannot be had */
    bool once;           /* a second one is refused */
    bool screen;         /* it may be dropped as part of a screen */
};
/* Applies RULES to each child of NODE. An element without a rule is refused. */
bool xml_apply(const struct xml_rule *rules, size_t count, struct vm_config *config, xmlNode *node,
               GError **err);

/* The rules for elements below <devices>. */
bool xml_read_devices(struct vm_config *config, xmlNode *node, GError **err);
struct vm_disk_config *xml_read_disk(xmlNode *node, GError **err);
struct vm_nic_config *xml_read_nic(xmlNode *node, GError **err);
struct vm_host_config *xml_read_hostdev(xmlNode *node, GError **err);
/* The address of the host's function that NODE is of, as in 0000:01:00.0; the caller's. */
char *xml_read_host_address(const xmlNode *node, GError **err);
/* Whether NODE is a disk of no medium, or for other reasons no device. */
bool xml_is_empty_drive(const xmlNode *node);

#endif
