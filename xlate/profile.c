/*
 * What profiles are made of: where vCPUs are, and what code there is.
 *
 * A vCPU is looked at by a signal on its thread, so that it is found where it spends time and not at
 * the next place where it looks up. The handler only notes; units are found later, by the thread
 * that takes the note: code that was dropped meanwhile is known by its page alone.
 */
#include "xlate/runner.h"

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

void xlate__interrupted(struct vcpu *vcpu, const void *context)
{
    const struct xl_cpu *cpu = container_of(vcpu, struct xl_cpu, vcpu);
    struct runner *r = runner_of(cpu);
    struct note *note = &r->note;
    struct back_place place;

    if (__atomic_load_n(&note->full, __ATOMIC_ACQUIRE))
        return;
    note->code = NULL;
    note->pc = cpu->pc;
    note->page = cpu->pc_page;
    note->mode = cpu->mode;
    if (__atomic_load_n(&r->asleep, __ATOMIC_RELAXED)) {
        note->activity = ACCEL_HALTED;
    } else if (__atomic_load_n(&r->place, __ATOMIC_RELAXED) != RUNNER_INSIDE) {
        note->activity = ACCEL_IN_DISPATCHER;
    } else if (!cpu->frame) {
        note->activity = ACCEL_IN_INTERPRETER;
    } else {
        back_interrupted(r->x->back, cpu, context, &place);
        note->code = place.code;
        note->pc = place.pc ? place.pc : cpu->pc;
        note->activity = !place.code    ? ACCEL_IN_DISPATCHER
                         : place.called ? ACCEL_IN_HELPER
                                        : ACCEL_IN_CODE;
    }
    __atomic_store_n(&note->full, true, __ATOMIC_RELEASE);
}

/* The note's pc is that of UNIT, where it was found. */
static void note_unit(void *opaque, const struct cache_unit *unit)
{
    struct note *note = opaque;

    note->pc = note->page + (unit->gpa & PAGE_MASK);
    note->mode = unit->mode;
}

bool xlate__sample(struct vcpu *vcpu, struct accel_sample *out)
{
    struct runner *r = runner_of(container_of(vcpu, struct xl_cpu, vcpu));

    if (!__atomic_load_n(&r->note.full, __ATOMIC_ACQUIRE))
        return false;
    struct note note = r->note;
    __atomic_store_n(&r->note.full, false, __ATOMIC_RELEASE);
    if (note.code && !cache_find_code(r->x->cache, note.code, note_unit, &note))
        note.pc = note.page;
    *out = (struct accel_sample){.activity = note.activity,
                                 .pc = note.activity == ACCEL_HALTED ? 0 : note.pc,
                                 .mode = r->x->sys->mode_name(note.mode)};
    return true;
}

/* --- what code there is ------------------------------------------------------------------------ */

struct each {
    struct xlate *x;
    accel_code_fn fn;
    void *opaque;
};

static void each_unit(void *opaque, const struct cache_unit *unit)
{
    const struct each *e = opaque;
    struct accel_code code = {.host = unit->checked, .bytes = unit->hot_bytes, .gpa = unit->gpa,
                              .mode = e->x->sys->mode_name(unit->mode),
                              .instructions = unit->n_guest};

    for (unsigned i = 0; i < e->x->accel.config.vcpus && !code.pc; i++) {
        const struct runner *r = e->x->runner[i];
        uint64_t page = r ? __atomic_load_n(&r->cpu->code_at[unit->page_id], __ATOMIC_RELAXED)
                          : XL_TLB_NONE;
        if (page != XL_TLB_NONE)
            code.pc = page + (unit->gpa & PAGE_MASK);
    }
    e->fn(e->opaque, &code);
    if (unit->cold_bytes) {
        code.host = unit->cold;
        code.bytes = unit->cold_bytes;
        e->fn(e->opaque, &code);
    }
}

unsigned xlate__code_each(struct accel *accel, unsigned part, accel_code_fn fn, void *opaque)
{
    struct each e = {container_of(accel, struct xlate, accel), fn, opaque};

    return cache_each_unit(e.x->cache, part, each_unit, &e);
}
