/* What a person needs to see of an x86 vCPU that cannot go on: registers, modes, and code at RIP.
 */
#include "accel/kvm/kvm_priv.h"

#define CODE_BYTES 16

static void add_registers(const struct kvm_regs *r, GString *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"rip", r->rip}, {"flags", r->rflags}, {"rax", r->rax}, {"rbx", r->rbx}, {"rcx", r->rcx},
        {"rdx", r->rdx}, {"rsi", r->rsi},      {"rdi", r->rdi}, {"rsp", r->rsp}, {"rbp", r->rbp},
        {"r8", r->r8},   {"r9", r->r9},        {"r10", r->r10}, {"r11", r->r11}, {"r12", r->r12},
        {"r13", r->r13}, {"r14", r->r14},      {"r15", r->r15},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        g_string_append_printf(out, "%s%-5s %016" PRIx64, i % 4 ? "  " : "\n  ", rows[i].name,
                               rows[i].value);
}

static void add_segment(const char *name, const struct kvm_segment *s, GString *out)
{
    g_string_append_printf(out, "\n  %-3s %04x base %016" PRIx64 " limit %08x%s", name, s->selector,
                           (uint64_t)s->base, s->limit,
                           s->unusable ? " unusable"
                           : s->l      ? " 64-bit"
                           : s->db     ? " 32-bit"
                                       : "");
}

static void add_system(const struct kvm_sregs2 *s, GString *out)
{
    add_segment("cs", &s->cs, out);
    add_segment("ss", &s->ss, out);
    g_string_append_printf(
        out,
        "\n  cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "  cr4 %08" PRIx64
        "  efer %04" PRIx64 "\n  gdt %016" PRIx64 "+%04x  idt %016" PRIx64 "+%04x",
        (uint64_t)s->cr0, (uint64_t)s->cr2, (uint64_t)s->cr3, (uint64_t)s->cr4, (uint64_t)s->efer,
        (uint64_t)s->gdt.base, s->gdt.limit, (uint64_t)s->idt.base, s->idt.limit);
}

/* Byte by byte, since the next one may be on a page that is not there. */
static void add_code(struct kvm_vcpu *v, uint64_t address, GString *out)
{
    g_string_append(out, "\n  code at rip:");
    for (unsigned i = 0; i < CODE_BYTES; i++) {
        struct kvm_translation t = {.linear_address = address + i};
        uint8_t byte;
        if (kvm__ioctl(v->fd, KVM_TRANSLATE, &t) < 0 || !t.valid ||
            mem_map_read(v->vcpu.accel->config.mem, t.physical_address, &byte, 1) < 0) {
            g_string_append(out, " (no memory)");
            return;
        }
        g_string_append_printf(out, " %02x", byte);
    }
}

void kvm__arch_describe(struct kvm_vcpu *v, GString *out)
{
    struct kvm_regs regs = {0};
    struct kvm_sregs2 sregs = {0};

    if (kvm__ioctl(v->fd, KVM_GET_REGS, &regs) < 0 || kvm__ioctl(v->fd, KVM_GET_SREGS2, &sregs) < 0)
        return;
    add_registers(&regs, out);
    add_system(&sregs, out);
    add_code(v, sregs.cs.l ? regs.rip : sregs.cs.base + regs.rip, out);
}
