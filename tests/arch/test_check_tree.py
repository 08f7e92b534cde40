"""check_tree.py itself: each row plants one fault in a small tree and expects one finding."""
import pathlib
import tempfile
import unittest

import check_tree

LIST = "unit_tests = [\n  ['base', [], [base_dep]],\n]\n"


def source(*includes):
    return "/* A file. */\n" + "".join(f'#include "{name}"\n' for name in includes)


def header(path, text=""):
    guard = path.upper().replace("/", "_").replace(".", "_")
    return f"/* A header. */\n#ifndef {guard}\n#define {guard}\n{text}#endif\n"


# A tree without a fault.
GOOD = {
    "base/base.h": header("base/base.h"),
    "base/limits.inc": 'LIMIT(VM_NAME, 64, "bytes", "of a name")\nLIMIT(VCPUS, 8, "", "")\n',
    "proto/schema/types.schema": 'string vm_name 1..VM_NAME "A name."\n',
    "mem/mem.h": header("mem/mem.h"),
    "accel/accel.h": header("accel/accel.h"),
    "xlate/cpu.h": header("xlate/cpu.h"),
    "xlate/ir/ir.h": header("xlate/ir/ir.h"),
    "xlate/front/riscv64/slots.h": header("xlate/front/riscv64/slots.h"),
    "xlate/front/riscv64/decode.c": source("xlate/ir/ir.h", "base/base.h"),
    "xlate/sys/riscv64/csr.c": source("xlate/front/riscv64/slots.h", "xlate/cpu.h"),
    "xlate/xlate.c": source("xlate/ir/ir.h", "accel/accel.h", "mem/mem.h"),
    "machine/bus/bus.h": header("machine/bus/bus.h"),
    "machine/virtio/blk.c": source("machine/bus/bus.h", "mem/mem.h"),
    "proto/jsonrpc/jsonrpc.h": header("proto/jsonrpc/jsonrpc.h"),
    "vm/vm.c": source("accel/accel.h", "machine/bus/bus.h", "proto/jsonrpc/jsonrpc.h") +
               "int vcpus = LIMIT_VCPUS;\n",
    "daemon/main.c": source("proto/jsonrpc/jsonrpc.h"),
    "vmctl/main.c": source("proto/jsonrpc/jsonrpc.h"),
    "tests/unit/meson.build": LIST,
    "tests/unit/test_base.c": source("vm/vm.h", "machine/bus/bus.h"),
    "hotplug/x": "", "gpu/x": "",
    "tools/x": "", "systemd/x": "", "docs/man/x": "", "docs/architecture/x": "", ".ci/run": "",
}

# name, the files that are added or replaced, the finding.
FAULTS = (
    ("machine knows accel", {"machine/virtio/blk.c": source("accel/accel.h")},
     'machine/virtio/blk.c:2: includes "accel/accel.h"'),
    ("board knows xlate", {"machine/boards/virt.c": source("xlate/xlate.h")},
     'machine/boards/virt.c:2: includes "xlate/xlate.h"'),
    ("xlate knows machine", {"xlate/xlate.c": source("base/base.h", "machine/bus/bus.h")},
     'xlate/xlate.c:3: includes "machine/bus/bus.h"'),
    ("vm reaches into xlate", {"vm/main.c": source("xlate/ir/ir.h")},
     'vm/main.c:2: includes "xlate/ir/ir.h"'),
    ("back end knows a guest", {"xlate/back/x86_64/emit.c": source("xlate/sys/riscv64/sys.h")},
     'xlate/back/x86_64/emit.c:2: includes "xlate/sys/riscv64/sys.h"'),
    ("front end knows a back end", {"xlate/front/riscv64/decode.c": source("xlate/back/x86_64/x.h")},
     'xlate/front/riscv64/decode.c:2: includes "xlate/back/x86_64/x.h"'),
    ("one ISA knows another", {"xlate/sys/riscv64/csr.c": source("xlate/front/aarch64/x.h")},
     "xlate/sys/riscv64/csr.c:2: includes"),
    ("one front end knows another", {"xlate/front/riscv64/decode.c": source("xlate/front/aarch64/x.h")},
     "xlate/front/riscv64/decode.c:2: includes"),
    ("shared header sees a part", {"xlate/xlate_priv.h": header("xlate/xlate_priv.h",
                                                          '#include "xlate/mmu/mmu.h"\n')},
     'xlate/xlate_priv.h:4: includes "xlate/mmu/mmu.h"'),
    ("mmu knows an ISA", {"xlate/mmu/mmu.c": source("xlate/sys/riscv64/sys.h")},
     'xlate/mmu/mmu.c:2: includes "xlate/sys/riscv64/sys.h"'),
    ("daemon holds guest memory", {"daemon/main.c": source("mem/mem.h")},
     'daemon/main.c:2: includes "mem/mem.h"'),
    ("vmctl knows the daemon", {"vmctl/main.c": source("daemon/store.h")},
     'vmctl/main.c:2: includes "daemon/store.h"'),
    ("base knows somebody", {"base/base.c": source("mem/mem.h")}, 'base/base.c:2: includes "mem/mem.h"'),
    ("folder without a row", {"novel/a.c": source("base/base.h")},
     'novel/a.c:2: includes "base/base.h", but its folder has no row'),
    ("header by a short name", {"mem/mem.c": source("mem.h")}, 'mem/mem.c:2: "mem.h" is not named'),
    ("header by dots", {"mem/mem.c": source("mem/../vm/vm.h")}, "mem/mem.c:2:"),
    ("our header in angles", {"mem/mem.c": "/* x */\n#include <vm/vm.h>\n", "vm/vm.h": header("vm/vm.h")},
     "mem/mem.c:2: <vm/vm.h> is one of ours"),
    ("wrong guard", {"mem/irq.h": header("mem/mem.h")},
     "mem/irq.h:1: its include guard is not MEM_IRQ_H"),
    ("no opening comment", {"mem/mem.c": "int x;\n"}, "mem/mem.c:1: does not open with a comment"),
    ("path of a machine", {"docs/x.md": "see /wor" "k/main\n"}, "docs/x.md:1: '/wor" "k/'"),
    ("unfinished work", {"mem/mem.c": "/* x */\n// TO" "DO: more\n"}, "mem/mem.c:2: 'TO" "DO'"),
    ("mirror", {"tools/a.py": "x\nhttp://deb.debi" "an.org/\n"}, "tools/a.py:2:"),
    ("main loop", {"vm/main.c": "/* x */\n g_main_loop_run(l);\n"}, "vm/main.c:2: 'g_main_loop_'"),
    ("typedef", {"vm/main.c": "/* x */\ntypedef struct vm {\n"}, "vm/main.c:2: 'typedef struct vm {'"),
    ("test nobody runs", {"tests/unit/test_mem.c": source()},
     "tests/unit/test_mem.c:1: is not in the list"),
    ("scenario nobody runs", {"tests/scenario/boot.scn": "", "tests/scenario/meson.build": ""},
     "tests/scenario/boot.scn:1: is not in the list"),
    ("limit nobody keeps", {"base/limits.inc": 'LIMIT(A, 1, "", "")\nLIMIT(B, 1, "", "")\n',
                            "proto/schema/types.schema": "", "vm/vm.c": "/* x */\nint a = LIMIT_A;\n"},
     "base/limits.inc:2: nothing keeps LIMIT_B"),
    ("missing folder", {"docs/man/x": None}, "docs/man:0: is missing"),
)

OBJDUMP = """
0000000000000000 l    d  .text\t0000000000000000 .text
0000000000000000 l     O .rodata\t0000000000000008 names
0000000000000000 l     O .data.rel.ro.local\t0000000000000010 table
0000000000000000 g     F .text\t000000000000000b run
"""
CHANGEABLE = """
0000000000000000 l     O .bss\t0000000000000004 counter.0
0000000000000000 g     O .data\t0000000000000004 mode
0000000000000000 g     O .data.rel.local\t0000000000000008 pointer
0000000000000000 l     O .tbss\t0000000000000004 current
0000000000000004       O *COM*\t0000000000000004 shared
"""


def findings(changes):
    """What check_tree prints for GOOD with CHANGES (None takes a file away)."""
    with tempfile.TemporaryDirectory() as scratch:
        top = pathlib.Path(scratch)
        for path, text in {**GOOD, **changes}.items():
            if text is not None:
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_text(text, encoding="utf-8")
        return [f"{found.path}:{found.line}: {found.text}" for found in check_tree.check(top)]


class CheckTree(unittest.TestCase):
    def test_good_tree_has_no_finding(self):
        self.assertEqual(findings({}), [])

    def test_each_fault_is_found(self):
        for name, changes, expected in FAULTS:
            with self.subTest(name):
                found = findings(changes)
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(expected), found[0])

    def test_constant_tables_are_no_state(self):
        self.assertEqual(list(check_tree.mutable_symbols(OBJDUMP)), [])

    def test_each_kind_of_state_is_found(self):
        self.assertEqual(list(check_tree.mutable_symbols(CHANGEABLE)),
                         ["counter.0", "mode", "pointer", "current", "shared"])


if __name__ == "__main__":
    unittest.main()
