#!/usr/bin/env python3
"""Checks proto/schema/gen.py: bad schemas get FILE:LINE errors, good ones the same output each time.

usage: test_gen.py GEN.PY LIMITS.INC
"""
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

GEN, LIMITS = sys.argv[1], sys.argv[2]

GOOD = '''since 0.1.0
string label 1..VM_NAME format name "A label."
string idempotency_key 1..128 format token "A key."
enum colour "A colour."
    red "Red."
    dark-blue "Dark blue."
struct point "A point."
    x i32 -5..5 = 0 "Where."
    y i32? "Where."
struct job_ref "A job."
    job u64 "Its id."
struct shape "A shape."
    name label "Its name."
    colour colour = dark-blue "Its colour."
    points [point] 0..XLATE_VCPUS = [] "Its points."
    origin point = {} "Its origin."
    bytes u64 1*MIB..MEMORY_MAX_MIB*MIB = 2*MIB "Its size."
    text string 0..10 = "a\\"b" "Text with a # sign in its doc."
error invalid -32602 "Bad." hint "Correct it."
method shape.draw owner changes "Draws."
    in vm label "Which."
    out ok bool "Done."
    fails invalid
method shape.list read "Lists."
    in newer bool = true since 0.2.0 "Came later."
    out shapes [shape] 0..16 "All."
method shape.move operate job "Moves."
method shape.any read "Anything."
    returns json
method shape.get read fd "One."
    returns shape
event shape.drawn "It was drawn."
    out shape shape "Which."
'''

# Lines put in place of the last of GOOD's, and what the error says about which of them.
BAD = [
    (['thing x "d"'], 1, "'thing' is no kind of item"),
    (['struct s'], 1, 'a text in quotes expected, the line ends'),
    (['struct s "d'], 1, 'a string without its closing quote'),
    (['struct s "d"'], 1, 'a struct without fields'),
    (['enum e "d"'], 1, 'an enum without values'),
    (['enum e "d"', '    a "x"', '    a "y"'], 3, "'a' is there twice"),
    (['enum e "d"', '    A "x"'], 2, "'A' is not a value"),
    (['struct S "d"', '    a u8 "d"'], 1, "'S' is not a type name"),
    (['struct point "d"', '    a u8 "d"'], 1, "'point' was declared at"),
    (['struct s "d"', '    a u8 "d"', '    a u8 "d"'], 3, "'a' is there twice"),
    (['struct s "d"', '    a u7 "d"'], 2, "no type 'u7'"),
    (['struct s "d"', '    a later "d"'], 2, "no type 'later'"),
    (['struct s "d"', '    int u8 "d"'], 2, "'int' is not a field name"),
    (['struct s "d"', '    a string "d"'], 2, 'is not MIN..MAX'),
    (['struct s "d"', '    a string 1..x "d"'], 2, "'x' is neither a number nor a limit"),
    (['struct s "d"', '    a [u8] "d"'], 2, 'is not MIN..MAX'),
    (['struct s "d"', '    a [string] 0..4 "d"'], 2, 'needs a named string type'),
    (['struct s "d"', '    a [u8]? 0..4 "d"'], 2, 'an array is neither optional'),
    (['struct s "d"', '    a u8 0..256 "d"'], 2, 'is no range within 0..255'),
    (['struct s "d"', '    a u8 5..4 "d"'], 2, 'is no range within 0..255'),
    (['struct s "d"', '    a u8 0..4 = 5 "d"'], 2, 'the default 5 is not within 0..4'),
    (['struct s "d"', '    a u8? = 5 "d"'], 2, 'optional, or a default: not both'),
    (['struct s "d"', '    a colour = green "d"'], 2, "'green' is no value of colour"),
    (['struct s "d"', '    a bool = 1 "d"'], 2, "'1' is not true or false"),
    (['struct s "d"', '    a shape = {} "d"'], 2, "'shape.name' has no default"),
    (['struct s "d"', '    a [u8] 1..4 = [] "d"'], 2, 'shorter than the least'),
    (['struct s "d"', '    a json = 1 "d"'], 2, 'a json takes no default'),
    (['struct s "d"', '    a u8 since 0.2.0 "d"'], 2, 'must be optional or have a default'),
    (['struct s "d"', '    a u8 since soon "d"'], 2, 'is not a release'),
    (['struct s "d"', '    a u8 "d" more'], 2, "'more' not expected here"),
    (['struct s "d"', '\ta u8 "d"'], 2, 'tabs are not used here'),
    (['string s 1..4 format colour "d"'], 1, "no format 'colour'"),
    (['method draw read "d"'], 1, "'draw' is not a method name"),
    (['method a.b root "d"'], 1, "no role 'root'"),
    (['method a.b owner "d"'], 1, "the role owner needs a member 'vm'"),
    (['method shape.draw read "d"'], 1, "'shape.draw' was declared at"),
    (['method a.b read "d"', '    returns colour'], 2, "'colour' is not a struct"),
    (['method a.b read "d"', '    returns shape', '    out a u8 "d"'], 3, 'exclude each other'),
    (['method a.b read "d"', '    out a u8 "d"', '    returns shape'], 3, 'already given'),
    (['method a.b read "d"', '    fails sadly'], 1, "no kind of error 'sadly'"),
    (['method a.b read "d"', '    gives a u8 "d"'], 2, "'gives' is not in, out"),
    (['method a.b read job "d"', '    out a u8 "d"'], 1, 'a job answers with job_ref'),
    (['method a.b read changes "d"', '    in key label? "d"'], 1, "'key' is there twice"),
    (['method a.b read changes fd "d"'], 1, 'changes or fd, not both'),
    (['event a.b "d"', '    in a u8 "d"'], 2, "'out' expected, not 'in'"),
    (['since 0.2.0', '    a u8 "d"'], 2, 'belongs to nothing'),
    (['string s 1..4 "d"', '    a u8 "d"'], 2, 'this item has no members'),
    (['error other 5 "d"'], 1, "'hint' expected, the line ends"),
]


class Generator(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def run_gen(self, text, name='t', seed='0', extra=()):
        path = os.path.join(self.folder.name, name + '.schema')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return path, subprocess.run(
            [sys.executable, '-B', GEN, '--module', name, '--prefix', 'T_', '--limits', LIMITS,
             '--out', self.folder.name, *extra, path], env=dict(os.environ, PYTHONHASHSEED=seed),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def errors_of(self, gen, text):
        """What the generator says about TEXT, in this process: there are many of them."""
        path = os.path.join(self.folder.name, 't.schema')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        said = io.StringIO()
        argv, sys.argv = sys.argv, ['gen.py', '--module', 't', '--limits', LIMITS,
                                    '--out', self.folder.name, path]
        try:
            with contextlib.redirect_stderr(said):
                status = gen.main()
        finally:
            sys.argv = argv
        return path, status, said.getvalue()

    def read(self, name):
        with open(os.path.join(self.folder.name, name), encoding='utf-8') as f:
            return f.read()

    def test_errors(self):
        before = GOOD.count('\n')
        spec = importlib.util.spec_from_file_location('gen', GEN)
        gen = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(gen)
        for lines, which, want in BAD:
            with self.subTest(lines=lines):
                path, status, said = self.errors_of(gen, GOOD + '\n'.join(lines) + '\n')
                self.assertEqual(status, 1)
                self.assertIn(f'{path}:{before + which}: ', said)
                self.assertIn(want, said)

    def test_needs_release(self):
        path, r = self.run_gen('struct s "d"\n    a u8 "d"\n')
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"{path}:1: 'since RELEASE'", r.stderr)

    def test_output_is_stable(self):
        names = ['t.h', 't.c', 't.json', 't.md', 't.words']
        outputs = []
        for seed in ('1', '2', '3'):
            _, r = self.run_gen(GOOD, seed=seed)
            self.assertEqual(r.returncode, 0, r.stderr)
            outputs.append([self.read(n) for n in names])
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual(outputs[0], outputs[2])

    def test_header(self):
        _, r = self.run_gen(GOOD)
        self.assertEqual(r.returncode, 0, r.stderr)
        header, source = self.read('t.h'), self.read('t.c')
        for want in ('COLOUR_DARK_BLUE', 'struct point **points;', 'size_t n_points;',
                     'bool has_y;', 'void (*shape_draw)(struct rpc_call *call, '
                     'struct shape_draw_params *params);', 'T_SHAPE_DRAW,', 'T_EVENT_SHAPE_DRAWN,',
                     'const struct shape *result, int fd)', '#define LABEL_MAX 64'):
            self.assertIn(want, header)
        for want in ('.max = INT64_C(1099511627776)', '.def = (int64_t)INT64_C(2097152)',
                     '.def_text = "a\\"b"', '.least = 0, .most = 8', '.since = 200',
                     'RPC_CHANGES', 'CODEC_FORMAT_NAME'):
            self.assertIn(want, source)

    def test_openrpc(self):
        _, r = self.run_gen(GOOD)
        self.assertEqual(r.returncode, 0, r.stderr)
        doc = json.loads(self.read('t.json'))
        methods = {m['name']: m for m in doc['methods']}
        self.assertEqual(doc['openrpc'], '1.2.6')
        self.assertEqual([p['name'] for p in methods['shape.draw']['params']], ['vm', 'key'])
        self.assertEqual(methods['shape.move']['result']['schema'],
                         {'$ref': '#/components/schemas/job_ref'})
        schemas = doc['components']['schemas']
        self.assertEqual(schemas['shape']['required'], ['name'])
        self.assertIs(schemas['shape']['additionalProperties'], False)
        self.assertEqual(schemas['colour']['enum'], ['red', 'dark-blue'])
        refs = set()

        def visit(v):
            if isinstance(v, dict):
                if '$ref' in v:
                    refs.add(v['$ref'].rsplit('/', 1)[1])
                for w in v.values():
                    visit(w)
            elif isinstance(v, list):
                for w in v:
                    visit(w)
        visit(doc)
        self.assertLessEqual(refs, set(schemas))

    def test_included_types_are_not_made_again(self):
        types = os.path.join(self.folder.name, 'base.schema')
        with open(types, 'w', encoding='utf-8') as f:
            f.write('since 0.1.0\nstruct point "A point."\n    x u8 "Where."\n')
        _, r = self.run_gen('since 0.1.0\nstruct line "A line."\n    a point "From."\n',
                            extra=['--include', types + '=base.h'])
        self.assertEqual(r.returncode, 0, r.stderr)
        header = self.read('t.h')
        self.assertIn('#include "proto/schema/base.h"', header)
        self.assertNotIn('struct point {', header)
        self.assertIn('struct point *a;', header)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
