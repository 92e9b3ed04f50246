"""Which kernel boots next, as the boot loader's settings have it; or that it is none of this machine's Linux. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from holdfast.versions import version_key

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Boot:
    """``kernel``: the release that boots next, "" where no kernel is in /boot; with ``other`` (in words: what boots next, and is
    no kernel of this machine) the one that would, were its Linux chosen, and ``fix`` chooses it once. ``assumed``: what of it
    is not certain."""

    kernel: str = ""
    other: str = ""
    fix: str = ""
    assumed: str = ""


KNOWN = Boot()
"""Of a machine whose boot loader has nothing special to say."""


def boots(bootable: Sequence[str], found: Mapping[str, Any]) -> Boot:
    """``bootable``: releases whose image is in /boot; ``found``: what boot_reader.read_boot returned, parts of it or nothing."""
    ordered = sorted(bootable, key=version_key)
    if not ordered:
        return Boot()
    entries: Sequence[Entry] = found.get("entries", ())
    loader, chosen = found.get("loader", ""), found.get("chosen", "")
    boot = _systemd_boot(ordered, chosen, entries) if loader == "systemd-boot" else _grub(ordered, chosen, entries)
    firmware = found.get("firmware", "")
    if re.fullmatch(r"Linux[ -]Firmware[ -]Updater", firmware):
        # fwupd asks for this one boot, installs its update there and restarts: in the order that there was before.
        update = "the firmware installs an update of fwupd's first, and restarts by itself"
        return replace(boot, assumed="; ".join(filter(None, (update, boot.assumed))))
    if firmware:
        words, fix = f"the firmware was told to boot {firmware!r} next", "sudo efibootmgr -N takes that back"
        return Boot(boot.kernel, words, fix, boot.assumed)
    return boot


def _named(ordered: Sequence[str], words: str) -> str:
    """The release that a title or an id has in it ("gnulinux-6.1.0-1-amd64-advanced-UUID"); "" for none."""
    there = [k for k in ordered if re.search(rf"(?<![\w.]){re.escape(k)}(?![\w.+])", words)]
    return max(there, key=len) if there else ""


def _loads(ordered: Sequence[str], entry: Entry) -> str:
    """The release that an entry loads: it stands in its kernel's path, or in the name of a file of both; "" for none of ours,
    and for one that ends at a prompt, where no network and no driver is waited for."""
    if entry.get("rescue"):
        return ""
    words = [re.sub(r"\.efi$", "", word, flags=re.I) for word in re.split(r"[/\s]+", entry["linux"])]
    there = [k for k in ordered if any(word == k or word.endswith(f"-{k}") for word in words)]
    return max(there, key=len) if there and not entry["id"].startswith("osprober-") else ""


def _grub(ordered: Sequence[str], chosen: str, entries: Sequence[Entry]) -> Boot:
    newest = ordered[-1]
    if not entries:
        return _grub_unseen(ordered, chosen)
    entry = _place(entries, chosen)
    if kernel := _loads(ordered, entry):
        return Boot(kernel)
    # A link (/vmlinuz) has no version in its name; the path of another system's kernel has one.
    unnamed = re.search(r"/(vmlinuz|linux)(\.old)?$", entry["linux"])
    if unnamed and not entry["id"].startswith("osprober-") and not entry.get("rescue"):
        return Boot(newest, assumed=f"GRUB boots {entry['title']!r}, whose kernel has no version in its name")
    ours = next((e for e in entries if _loads(ordered, e)), None)
    kernel = _loads(ordered, ours) if ours else newest
    return Boot(kernel, f"GRUB boots {_called(entry)} next", _grub_fix(ours["at"] if ours else ""))


def _called(entry: Entry) -> str:
    title = entry["title"] or entry["id"]
    return f"{title!r}{' (to a rescue prompt)' if entry.get('rescue') else ''}"


def _grub_fix(place: str) -> str:
    at = shlex.quote(place) if place else "ENTRY (its own, as /boot/grub/grub.cfg has it)"
    return f"sudo grub-reboot {at} chooses this Linux once (for good: GRUB_DEFAULT in /etc/default/grub, then sudo update-grub)"


def _grub_unseen(ordered: Sequence[str], chosen: str) -> Boot:
    """Where the menu cannot be read, and the entry's own words are all there is."""
    if kernel := _named(ordered, chosen.rpartition(">")[2]):
        return Boot(kernel)
    if chosen in ("", "0"):
        return Boot(ordered[-1])
    if re.fullmatch(r"[\d>]+", chosen):
        return Boot(ordered[-1], assumed=f"GRUB boots its entry {chosen}, and its menu could not be read")
    if re.search(r"linux|debian|ubuntu", chosen, re.I) and "osprober" not in chosen:
        return Boot(ordered[-1])
    return Boot(ordered[-1], f"GRUB boots {chosen!r} next", _grub_fix(""))


def _place(entries: Sequence[Entry], chosen: str) -> Entry:
    """The entry that GRUB takes for ``chosen``: places, titles or ids, menu by menu; the first one for what it does not find."""
    parts, level = [part.replace("\0", ">") for part in chosen.replace(">>", "\0").split(">")], ""
    while True:
        there = [e for e in entries if e["at"].rpartition(">")[0] == level]
        part = parts.pop(0) if parts else ""
        named = [e for e in there if part and part in (e["at"].rpartition(">")[2], e["title"], e["id"])]
        entry = (named or there)[0]
        level = entry["at"]
        if not entry["menu"] or not any(e["at"].rpartition(">")[0] == level for e in entries):
            return entry


def _systemd_boot(ordered: Sequence[str], chosen: str, entries: Sequence[Entry]) -> Boot:
    newest, pattern = ordered[-1], chosen.lower()
    if not entries:
        match = [k for k in ordered if _named([k], chosen) or fnmatchcase(f"{k}.conf", pattern)]
        unseen = f"systemd-boot is set to {chosen!r}, and its entries could not be read" if chosen else ""
        if chosen.startswith("auto-"):
            return Boot(newest, f"systemd-boot boots {chosen!r} next", _bootctl(""))
        return Boot(match[-1] if match else newest, assumed=unseen or "systemd-boot's entries could not be read")

    def order(entry: Entry) -> Any:
        # The newest comes first in its menu, and what has failed too often last.
        return entry["at"] != "last", version_key(_loads(ordered, entry) or "0")

    fits = [e for e in entries if chosen and _fits(e["id"], pattern)]
    assumed = "" if fits or not chosen else f"systemd-boot is set to {chosen!r}, and no entry of that name was found"
    if chosen.startswith("auto-") and not fits:
        what, kernel = repr(chosen), ""
    else:
        entry = max(fits or entries, key=order)
        what, kernel = _called(entry), _loads(ordered, entry)
        if not kernel and _unnamed(entry, entries):
            kernel, nameless = newest, f"systemd-boot boots {what}, whose kernel has no version in its name"
            assumed = "; ".join(filter(None, (assumed, nameless)))
    if kernel:
        return Boot(kernel, assumed=assumed)
    mine = max((e for e in entries if _loads(ordered, e)), key=order, default=None)
    return Boot(newest, f"systemd-boot boots {what} next", _bootctl(mine["id"] if mine else ""))


def _unnamed(entry: Entry, entries: Sequence[Entry]) -> bool:
    """Whether it boots a kernel that is copied under one name each time (/EFI/debian/vmlinuz); a unified image has whatever
    name it was given, and counts where no other entry boots a Linux."""
    if entry.get("rescue") or re.search(r"\d+\.\d+", entry["linux"]):
        return False
    path = entry["linux"].partition(" ")[0]
    alone = sum(bool(e["linux"]) for e in entries) == 1
    return bool(re.search(r"/(vmlinuz|linux)(\.old)?$", path)) or (path.lower().endswith(".efi") and alone)


def _fits(name: str, pattern: str) -> bool:
    name = name.lower()
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def _bootctl(name: str) -> str:
    known = shlex.quote(name) if name else "ENTRY (its own, as bootctl list has it)"
    return f"sudo bootctl set-oneshot {known} chooses this Linux once (for good: bootctl set-default)"
