"""Runs on the machine: the NVIDIA cards on the PCI bus, and what the driver says of them."""

import csv
import json
import os
import re
import subprocess
import sys

BUS = "/sys/bus/pci/devices"


def read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return ""


cards = {}
for address in os.listdir(BUS) if os.path.isdir(BUS) else []:
    device = os.path.join(BUS, address)
    if read(device + "/vendor") == "0x10de" and read(device + "/class").startswith("0x03"):
        driver = os.path.join(device, "driver")
        cards[address] = os.path.basename(os.readlink(driver)) if os.path.islink(driver) else ""
# A container sees its host's whole /sys; cards that it was not given are not its own.
inside = any(map(os.path.exists, ("/run/systemd/container", "/.dockerenv", "/run/.containerenv")))
if inside and not os.path.exists("/dev/nvidiactl"):
    cards = {}
problem = ""
query = "pci.bus_id,uuid,driver_version,memory.total"
try:
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=60
    )
    names = query.split(",")
    rows = [dict(zip(names, (c.strip() for c in row), strict=False)) for row in csv.reader(done.stdout.splitlines())]
    # What it has to complain about ("No devices were found") stands where the rows would.
    rows = [row for row in rows if len(row) == len(names) and re.match("[0-9A-Fa-f]+:", row["pci.bus_id"])]
    if done.returncode != 0 or not rows:
        problem = " ".join((done.stderr or done.stdout).split())[:300] or "nvidia-smi lists no card"
except FileNotFoundError:
    rows, problem = [], "nvidia-smi is not installed"
except (OSError, subprocess.SubprocessError) as error:
    rows, problem = [], str(error)
for row in rows:
    domain, rest = row["pci.bus_id"].lower().split(":", 1)
    row["address"] = f"{int(domain, 16):04x}:{rest}"
json.dump({"cards": cards, "smi": rows, "problem": problem, "module": read("/sys/module/nvidia/version")}, sys.stdout)
