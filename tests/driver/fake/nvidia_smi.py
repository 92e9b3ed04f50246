#!/usr/bin/python3
"""FAKE nvidia-smi: two RTX 3090s, with what the real one printed (recorded.json beside it).

Whether a driver works it takes from the same files as everybody (/sys/module/nvidia, libcuda's name), so that it cannot say
other than the machine does. What is set is lost at a reboot (/run), as on a card. `deaf` beside it: a card that warns, ends with
status 0, and sets nothing.
"""

import glob
import json
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
SET = "/run/FAKE-nvidia-smi.json"
with open("/opt/FAKE/recorded.json") as file:
    RECORDED = json.load(file)


def say(kind, **words):
    status, text = RECORDED[kind]
    print(text.format(**words))
    sys.exit(status)


def text(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def limits():
    return json.loads(text(SET) or "{}")


def chosen(word):
    """The cards that -i names: an index, a UUID, or an address with any width of domain."""
    if not word:
        return RECORDED["cards"]
    tail = word.lower().partition(":")[2]
    found = [c for c in RECORDED["cards"] if word in (c["index"], c["uuid"]) or (tail and c["pci.bus_id"].endswith(f":{tail}"))]
    return found or say("no_such_card")


def query(fields, cards, form):
    now = limits()
    if "noheader" not in form:
        units = RECORDED["units"]
        print(", ".join(f"{f} [{units[f]}]" if f in units else f for f in fields))
    for card in cards:
        row = {**card, **now.get(card["uuid"], {})}
        for field in fields:
            if field not in row:
                say("bad_field", word=field)
        unit = {} if "nounits" in form else RECORDED["units"]
        print(", ".join(f"{row[f]} {unit[f]}" if f in unit else row[f] for f in fields))


def limit(watts, cards):
    for card in cards:
        least, most = card["power.min_limit"], card["power.max_limit"]
        if os.path.exists("/opt/FAKE/deaf"):
            say("limit_unsupported", at=card["pci.bus_id"])
        if not float(least) <= watts <= float(most):
            say("limit_refused", word=f"{watts:.2f}", least=least, most=most, at=card["pci.bus_id"])
        now = limits()
        before = now.get(card["uuid"], card)["power.limit"]
        now[card["uuid"]] = {"power.limit": f"{watts:.2f}"}
        with open(SET, "w") as file:
            json.dump(now, file)
        print(RECORDED["limit_set"][1].format(at=card["pci.bus_id"], word=f"{watts:.2f}", before=before))


def main(words):
    library = [name.rpartition(".so.")[2] for name in glob.glob("/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.*.*")]
    loaded = text("/sys/module/nvidia/version")
    if not loaded:
        say("not_loaded")
    if loaded not in library:
        say("mismatch", library=".".join(library[0].split(".")[:2]))
    fields, form, which, watts = [], [], "", None
    while words:
        word = words.pop(0)
        if word.startswith("--query-gpu="):
            fields = word.partition("=")[2].split(",")
        elif word.startswith("--format="):
            form = word.partition("=")[2].split(",")
        elif word == "-i":
            which = words.pop(0)
        elif word == "-pl":
            watts = float(words.pop(0))
        elif word == "-L":
            for card in RECORDED["cards"]:
                print(f"GPU {card['index']}: {card['name']} (UUID: {card['uuid']})")
        else:
            say("bad_option", word=word)
    if fields:
        query(fields, chosen(which), form)
    if watts is not None:
        limit(watts, chosen(which))


main(sys.argv[1:])
