/*
 * proto/libvirt/xml: a VM's configuration as libvirt's domain XML, and back.
 *
 * What vmd has is read into the configuration and written out of it. What means nothing to vmd is
 * dropped where that harms nobody (a table says what), kept verbatim where it is the client's own
 * (title, description, metadata), and refused by name otherwise. Documents with a DTD are refused,
 * nothing outside the text is read. Any thread.
 */
#ifndef PROTO_LIBVIRT_XML_XML_H
#define PROTO_LIBVIRT_XML_XML_H

#include "proto/schema/types.h"

/* The network of user networking, by the name that clients look for. */
#define XML_NETWORK "default"

/* What the reader cannot know. */
struct xml_options {
    /* Screens, sound and what is plugged into a screen's client are dropped, not refused. */
    bool headless;
    /* Below this folder lie the sockets that vmd makes itself; NULL: none do. */
    const char *sockets;
    /* The path of VOLUME of POOL, the caller's to free; NULL with ERR. NULL: there are no pools. */
    char *(*volume)(void *user, const char *pool, const char *volume, GError **err);
    void *user; /* volume()'s */
};

/*
 * Reads the domain TEXT, as OPTIONS (NULL: none) say. BASE (borrowed, or NULL) is a configuration of the same VM: what the XML cannot say stays as it is there. UUID gets the domain's, in small letters, or NULL where it has
 * none; the caller frees. The result is the caller's. NULL with VMD_ERROR_INVALID where TEXT is no
 * domain, VMD_ERROR_UNSUPPORTED where vmd does not have what it asks for, which the message names.
 */
struct vm_config *domain_xml_read(const char *text, const struct xml_options *options,
                                  const struct vm_config *base, char **uuid, GError **err);

/* The name and the UUID (NULL: none) of the domain TEXT alone; the caller frees both. */
bool domain_xml_identity(const char *text, char **name, char **uuid, GError **err);

/* A run of a domain. */
struct xml_run {
    int32_t number;
    const char *dir; /* of the sockets of its channels */
};

/* The domain of CONFIG, whose UUID is ID, in RUN, NULL without one. The caller frees. */
char *domain_xml_write(const struct vm_config *config, const char *id, const struct xml_run *run);

/* Reads one device, a disk or an interface. The result is the caller's; NULL with ERR as above. */
struct device_spec *device_xml_read(const char *text, const struct xml_options *options,
                                    GError **err);
/* The id of the device of CONFIG that TEXT, as device_xml_read() takes it, describes: by its alias, a
 * disk by its target, an interface by its address, or as the only one; NULL with VMD_ERROR_NOT_FOUND.
 * The caller frees. */
char *device_xml_find(const char *text, const struct vm_config *config, GError **err);

/* The name at which libvirt's clients know disk INDEX of CONFIG: vda. The caller frees. */
char *domain_xml_target(const struct vm_config *config, size_t index);

/* Puts the disks of a bus, vd or sd, together and in the order of their targets, as clients expect to see them
 * however they came. */
void domain_xml_order_disks(struct vm_config *config);

/* An element that the configuration keeps for clients, by its name: what is in it as text (title,
 * description), or the element of namespace URI within metadata. NULL: it is not there. The caller
 * frees. */
char *domain_xml_kept(const struct vm_config *config, const char *name, const char *uri);
/* Replaces it; VALUE NULL takes it away. */
bool domain_xml_keep(struct vm_config *config, const char *name, const char *uri, const char *key,
                     const char *value, GError **err);

#endif
