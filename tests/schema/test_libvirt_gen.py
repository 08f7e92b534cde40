#!/usr/bin/env python3
"""proto/libvirt/gen.py: what it refuses with the line, and that its output is the same twice."""
import os
import subprocess
import sys
import tempfile
import unittest

GEN = sys.argv.pop(1)
GOOD = 'struct s\n    a u32\n    b string[3]\n    c chars8\n    d param[2]\nstruct t\n    s s[2]\ncall x 1 read s -\ncall y 2 write - t\n'
BAD = [
    ('struct s\n    a u31\n', ':2: unknown type u31'),
    ('struct s\n    a s\n', ':2: unknown type s'),
    ('struct s\n    a u64[3]\n', ':2: no array of u64'),
    ('struct s\n    a chars\n', ':2: unknown type chars'),
    ('struct s\n    a chars0\n', ':2: unknown type chars0'),
    ('struct s\n    a i32[0]\n', ':2: unknown type i32[0]'),
    ('    a u32\n', ':1: expected: FIELD TYPE below a struct'),
    ('struct s\n    a u32\nstruct s\n', ':3: struct s is there twice'),
    ('call x 1 read - -\ncall y 1 read - -\n', ':2: call y 1 is there twice'),
    ('call x 1 read - -\ncall x 2 read - -\n', ':2: call x 2 is there twice'),
    ('call x 1 read s -\n', ':1: no struct s'),
    ('call x 1 maybe - -\n', ':1: expected: call NAME'),
    ('cell x\n', ':1: unknown line cell'),
]


class Generator(unittest.TestCase):
    def run_gen(self, text):
        with tempfile.TemporaryDirectory() as d:
            names = [os.path.join(d, n) for n in ('in.table', 'out.h', 'out.c')]
            with open(names[0], 'w', encoding='utf-8') as f:
                f.write(text)
            done = subprocess.run([sys.executable, '-B', GEN, *names], capture_output=True,
                                  text=True, check=False, timeout=60)
            made = []
            for name in names[1:]:
                if os.path.exists(name):
                    with open(name, encoding='utf-8') as f:
                        made.append(f.read())
            return done, made

    def test_bad(self):
        for text, expected in BAD:
            with self.subTest(text=text):
                done, made = self.run_gen(text)
                self.assertEqual(done.returncode, 1)
                self.assertIn(expected, done.stderr)
                self.assertEqual(made, [])

    def test_same_twice(self):
        first, again = self.run_gen(GOOD), self.run_gen(GOOD)
        self.assertEqual(first[0].returncode, 0, first[0].stderr)
        self.assertEqual(first[1], again[1])
        self.assertIn('    LIBVIRT_Y = 2,\n', first[1][0])
        self.assertIn('    char **b;\n', first[1][0])
        self.assertIn('{2, "y", true, NULL, &libvirt_t_layout}', first[1][1])


if __name__ == '__main__':
    unittest.main()
