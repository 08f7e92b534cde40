/* See pciaddr.h. */
#include "base/pciaddr.h"

bool pciaddr_valid(const char *name)
{
    static const char form[] = "xxxx:xx:xx.x";

    if (strlen(name) != strlen(form))
        return false;
    for (unsigned i = 0; form[i]; i++) {
        bool ok = form[i] == 'x' ? g_ascii_isxdigit(name[i]) && !g_ascii_isupper(name[i])
                                 : name[i] == form[i];
        if (!ok)
            return false;
    }
    return name[11] < '8';
}
