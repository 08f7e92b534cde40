"""What the list.py of a library of the guest's have in common: a page of the functions that it exports and lacks.

Such a script is called as `list.py FUNCTIONS [--check PAGE]`: it prints the page; with --check it says whether PAGE is
that, and how to make it so.
"""
import re
import sys


def lacking(path):
    with open(path, encoding="utf-8") as file:
        rows = [line.split("#")[0].split() for line in file]
    return sorted(words[1] for words in rows if words and words[0] == "lack")


def page(path, script, title, text, groups):
    left = lacking(path)
    out = [f"# {title}", "", text, f"Made by `{script}` from `{script.replace('list.py', 'functions.txt')}`.", "",
           "| about | functions |", "|---|---|"]
    for about, pattern in groups:
        named = [name for name in left if re.match(pattern, name)]
        left = [name for name in left if name not in named]
        if named:
            out.append(f"| {about} | " + ", ".join(f"`{name}`" for name in named) + " |")
    return "\n".join(out) + "\n"


def main(argv, usage, script, *what):
    if len(argv) not in (2, 4) or (len(argv) == 4 and argv[2] != "--check"):
        sys.exit(usage)
    text = page(argv[1], script, *what)
    if len(argv) == 2:
        sys.stdout.write(text)
        return
    with open(argv[3], encoding="utf-8") as file:
        if file.read() != text:
            sys.exit(f"{argv[3]} is not what the table says: {script} {script.replace('list.py', 'functions.txt')} > {argv[3]}")
