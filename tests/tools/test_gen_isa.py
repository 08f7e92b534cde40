#!/usr/bin/env python3
"""tools/gen_isa.py: what it makes of a small instruction set, and what it refuses, by line."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
TOOL = TOP / "tools/gen_isa.py"
HEAD = """prefix toy
lengths 2 4
field rd 5
field rs 5
field rm 3 !=5
field rc 3 +8
"""
ADD = "add | imm[6:0] rs 00000 000 rd 0110011 | I |  | op 1 | rd,rs"

# What a row after HEAD and ADD is refused for.
REFUSED = (
    ("twice", ADD, "add is there twice"),
    ("columns", "sub | 0000000 | I", "3 columns"),
    ("bits", "sub | 0000000 rs rs 000 rd 01100111 | I |  | op 1 | rd", "the pattern has 33 bits"),
    ("field", "sub | 0000000 rx 00000 000 rd 0110011 | I |  | op 1 | rd", "no such field: rx"),
    ("overlap", "sub | 0000000 rs 00000 000 rd 0110011 | I |  | op 1 | rd", "sub overlaps add (toy.isa:7)"),
    ("wider", "sub | ------- rs 00000 --- rd 0110011 | I | over=add | op 1 | rd", "is not narrower than add"),
    ("unknown over", "sub | 1111111 rs 00000 001 rd 0110011 | I | over=mul | op 1 | rd", "no such row"),
    ("needs", "sub | 1111111 rs 00000 001 rd 0110011 | I | rx!=0 | op 1 | rd", "has no such field"),
    ("words", "sub | 1111111 rs 00000 001 rd 0110011 | I | quick | op 1 | rd", "not understood: quick"),
    ("meaning", "sub | 1111111 rs 00000 001 rd 0110011 | I |  | op | rd", "neither an emitter"),
    ("expansion", "c.add | 0000 imm[6:0] rc 01 | C |  | = mul rd=rc rs=rc imm=imm | rd", "no row with a meaning"),
    ("its fields", "c.add | 0000 imm[6:0] rc 01 | C |  | = add rd=rc imm=imm | rd", "add has the fields imm rd rs"),
    ("its values", "c.add | 0000000 imm[3:0] rc 01 | C |  | = add rd=rx rs=rc imm=imm | rd", "no such field: rx"),
    ("nonsense", "what is this", "not understood: what is this"),
)

PROGRAM = r"""
#include "toy_isa.h"
#include <stdio.h>
#include <stdlib.h>
void toy_emit_op(struct toy_translation *t, const struct toy_insn *i, uint32_t a) {}
int main(int argc, char **argv)
{
    for (int n = 1; n < argc; n++) {
        struct toy_insn i;
        toy_decode(strtoul(argv[n], 0, 16), &i);
        printf("%s %s %d %d %d %d %d\n", toy_rows[i.row].name ? toy_rows[i.row].name : "-",
               toy_rows[i.op].name ? toy_rows[i.op].name : "-", i.rd, i.rs, i.rm, i.imm, i.length);
    }
    return 0;
}
"""
ROWS = HEAD + ADD + """
nop   | 0000000 00000 00000 000 00000 0110011 | I | over=add | op 2 |
round | 0000000 rs 00000 rm rd 1010011        | F |          | op 3 | rd,rs,rm
far   | imm[8,3:1,7:4] 0000000000000000 0 0100011 | I |     | op 4 | imm
c.add | 000 uimm[2,5:3] 0000 rc 01            | C | uimm!=0 rc!=7 | = add rd=rc rs=2 imm=uimm | rd
"""
# Word, and what it is: row, meaning, rd, rs, rm, imm, bytes.
DECODED = (
    ("fe3000b3", "add add 1 3 0 -1 4"),
    ("00000033", "nop nop 0 0 0 0 4"),
    ("000000b3", "add add 1 0 0 0 4"),
    ("000870d3", "- - 0 0 0 0 4"),     # a bit that must be 0
    ("004050d3", "- - 0 0 0 0 4"),     # rounding mode 5
    ("00407053", "round round 0 4 7 0 4"),
    ("00006053", "round round 0 0 6 0 4"),
    ("80000023", "far far 0 0 0 -256 4"),
    ("f0000023", "far far 0 0 0 -242 4"),
    ("0f000023", "far far 0 0 0 240 4"),
    ("00001001", "c.add add 8 2 0 4 2"),
    ("00001011", "c.add add 12 2 0 4 2"),
    ("0000101d", "- - 0 0 0 0 2"),     # rc 7
    ("00000001", "- - 0 0 0 0 2"),     # immediate 0
    ("0000ffff", "- - 0 0 0 0 4"),
)


class GenIsa(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def generate(self, text):
        (self.path / "toy.isa").write_text(text, encoding="utf-8")
        return subprocess.run([sys.executable, TOOL, "--include", "toy_isa.h", self.path / "toy.isa",
                               self.path / "toy_isa.h", self.path / "toy_isa.c"],
                              capture_output=True, text=True, check=False)

    def test_refused(self):
        for name, row, text in REFUSED:
            with self.subTest(name):
                done = self.generate(HEAD + ADD + "\n" + row + "\n")
                self.assertEqual(done.returncode, 1)
                self.assertTrue(done.stderr.startswith("toy.isa:8: "), done.stderr)
                self.assertIn(text, done.stderr)

    def test_same_output(self):
        self.assertEqual(self.generate(ROWS).returncode, 0)
        first = (self.path / "toy_isa.c").read_bytes()
        self.generate(ROWS)
        self.assertEqual(first, (self.path / "toy_isa.c").read_bytes())

    def test_decoder(self):
        self.assertEqual(self.generate(ROWS).returncode, 0)
        (self.path / "main.c").write_text(PROGRAM, encoding="utf-8")
        subprocess.run(["cc", "-o", "main", "main.c", "toy_isa.c"], cwd=self.path, check=True)
        done = subprocess.run([self.path / "main"] + [word for word, _ in DECODED], check=True,
                              capture_output=True, text=True)
        for (word, want), got in zip(DECODED, done.stdout.splitlines()):
            with self.subTest(word):
                self.assertEqual(got, want)


if __name__ == "__main__":
    unittest.main()
