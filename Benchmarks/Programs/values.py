# SPDX-License-Identifier: BSD-2-Clause
#
# values.py SCALE: what scripts do: build records, write and parse JSON, count words, split and join text, sort.
# With PYTHONMALLOC=malloc every object is a block of the allocator under test.

import json
import re
import sys

scale = float(sys.argv[1])
rounds = max(1, int(12 * scale))
letters = "abcdefghijklmnopqrstuvwxyz"


def word(number):
    text = ""
    while number:
        number, rest = divmod(number, 26)
        text += letters[rest]
    return text


def record(number):
    return {
        "id": number,
        "name": word(number * 7919 + 1),
        "tags": [word(number * k + 3) for k in range(1, 8)],
        "place": {"x": number * 0.25, "y": -number, "label": "at " + word(number)},
    }


total = 0
for turn in range(rounds):
    records = [record(n) for n in range(turn * 1000, turn * 1000 + 5000)]
    text = json.dumps(records)
    back = json.loads(text)
    counts = {}
    for piece in re.findall(r"[a-z]+", text):
        counts[piece] = counts.get(piece, 0) + 1
    lines = "\n".join(",".join([r["name"]] + r["tags"]) for r in back).split("\n")
    lines.sort(key=lambda line: line[::-1])
    groups = {}
    for line in lines:
        groups.setdefault(line[:2], []).append(tuple(line.split(",")))
    total += len(text) + len(counts) + len(groups) + sum(map(len, groups.values()))
print(total)
