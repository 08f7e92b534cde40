/* Errors of methods as libvirt's clients know them, and the plainest answers. */
#include "daemon/libvirt/bridge_priv.h"

static const struct {
    enum vmd_error kind;
    enum libvirt_code code;
} codes[] = {
    {VMD_ERROR_INTERNAL, LIBVIRT_ERR_INTERNAL},
    {VMD_ERROR_INVALID, LIBVIRT_ERR_INVALID_ARG},
    {VMD_ERROR_NOT_FOUND, LIBVIRT_ERR_NO_DOMAIN},
    {VMD_ERROR_EXISTS, LIBVIRT_ERR_OPERATION_FAILED},
    {VMD_ERROR_STATE, LIBVIRT_ERR_OPERATION_INVALID},
    {VMD_ERROR_DENIED, LIBVIRT_ERR_ACCESS_DENIED},
    {VMD_ERROR_UNSUPPORTED, LIBVIRT_ERR_OPERATION_UNSUPPORTED},
    {VMD_ERROR_LIMIT, LIBVIRT_ERR_OPERATION_FAILED},
    {VMD_ERROR_BUSY, LIBVIRT_ERR_BUSY},
    {VMD_ERROR_TIMEOUT, LIBVIRT_ERR_OPERATION_TIMEOUT},
    {VMD_ERROR_IO, LIBVIRT_ERR_SYSTEM},
    {VMD_ERROR_GONE, LIBVIRT_ERR_OPERATION_FAILED},
};

void bridge_fail_from(struct libvirt_request *request, const GError *err,
                      enum libvirt_domain domain)
{
    enum libvirt_code code = LIBVIRT_ERR_INTERNAL;

    for (size_t i = 0; i < G_N_ELEMENTS(codes) && err->domain == VMD_ERROR; i++) {
        if ((int)codes[i].kind == err->code)
            code = codes[i].code;
    }
    libvirt_fail(request, code, domain, "%s", err->message);
}

void bridge_fail(struct libvirt_request *request, const GError *err)
{
    bridge_fail_from(request, err, LIBVIRT_FROM_DOMAIN);
}

void bridge_fail_xml(struct libvirt_request *request, const GError *err)
{
    if (g_error_matches(err, VMD_ERROR, VMD_ERROR_UNSUPPORTED))
        libvirt_fail(request, LIBVIRT_ERR_CONFIG_UNSUPPORTED, LIBVIRT_FROM_DOMAIN, "%s",
                     err->message);
    else if (g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID))
        libvirt_fail(request, LIBVIRT_ERR_XML, LIBVIRT_FROM_DOMAIN, "%s", err->message);
    else
        bridge_fail(request, err);
}

bool bridge_flags(struct libvirt_request *request, uint32_t flags, uint32_t allowed)
{
    if (!(flags & ~allowed))
        return true;
    libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                 "%s has no meaning here for the flags 0x%x", libvirt_request_call(request)->name,
                 flags & ~allowed);
    return false;
}

void bridge_done(void *arg, const void *result, int fd, const GError *err)
{
    if (err)
        bridge_fail(arg, err);
    else
        libvirt_reply(arg, NULL);
}

void bridge_call(struct client *c, struct libvirt_request *request, enum api_method method,
                 const void *params)
{
    rpc_local_call(c->rpc, method, params, bridge_done, request);
}
