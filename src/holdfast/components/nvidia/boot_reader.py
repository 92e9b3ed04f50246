"""The reader of boot loaders: one function that travels with the driver's reader and runs on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read_boot(text: Callable[..., str], names: Callable[..., list[str]], efi: Callable[[str], bytes]) -> Any:
    """What the machine's boot loader is set to boot, and what it offers: {"loader", "chosen", "firmware", "entries"}.

    ``text``, ``names``, ``efi``: read a file, list a folder, read the EFI variables that a pattern names. ``loader``: "grub",
    "systemd-boot" or ""; ``chosen``: the entry's place, title, id or (systemd-boot) a pattern of ids; ``firmware``: what the
    firmware was told to boot this once in place of that loader; each entry {"at", "id", "title", "linux", "menu", "rescue"},
    ``linux`` being what tells its kernel, "" for an entry that boots no Linux; ``rescue``: it ends at a prompt.
    https://www.gnu.org/software/grub/manual/grub/html_node/Simple-configuration.html,
    https://uapi-group.org/specifications/specs/boot_loader_specification/, https://systemd.io/BOOT_LOADER_INTERFACE/
    """
    import re

    def variable(name: str) -> str:
        return efi(f"{name}-4a67b082-*").decode("utf-16-le", "replace").strip("\0")

    def to_prompt(options: str) -> bool:
        # Debian's recovery entries have "single", Ubuntu's "recovery"; https://www.freedesktop.org/software/systemd/man/systemd.html
        words = r"(^|\s)(single|recovery|rescue|emergency|[1sSb]|-[sb]|rd\.break(=\S*)?|init=\S*/(ba|da)?sh)(\s|$)"
        return bool(re.search(words, options) or re.search(r"systemd\.unit=(rescue|emergency)\b", options))

    def statements(line: str) -> list[str]:
        """An entry that is written in one line, as the lines that it is elsewhere."""
        found = re.match(
            r"((?:menuentry|submenu)\s+(?:'[^']*'|\"[^\"]*\"|[^\s'\"{]\S*)(?:[^{$]|\$\{[^}]*\}|\$(?!\{))*\{)\s*(\S.*)", line
        )
        if not found:
            return [line]
        closed = re.search(r"(^|[\s;])\}$", found[2])
        body = found[2][:-1].strip() if closed else found[2]
        inside = statements(body) if re.match(r"(menuentry|submenu)\s", body) else body.split(";")
        return [found[1], *map(str.strip, inside), *(["}"] if closed else [])]

    def grub_entries(config: str) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        place: list[int] = []
        counts = [0]
        inside: dict[str, Any] | None = None
        for line in (part for whole in config.splitlines() for part in statements(whole.strip())):
            found = re.match(r"(menuentry|submenu)\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))(.*)", line)
            if found:
                place.append(counts[-1])
                counts[-1] += 1
                counts.append(0)
                named = re.search(r"(?:\$\{?menuentry_id_option\}?|--id)[\s=]+[\"']?([^\"'\s{]+)", found[5])
                inside = {
                    "at": ">".join(map(str, place)), "id": named[1] if named else "",
                    "title": found[2] or found[3] or found[4] or "", "linux": "", "menu": found[1] == "submenu",
                    "rescue": False,
                }  # fmt: skip
                out.append(inside)
            elif line == "}" and place:
                place.pop()
                counts.pop()
                inside = None
            elif inside and not inside["linux"]:
                # Xen's kernel comes as a module; Ubuntu on ZFS has its path in quotes.
                loads = re.match(r"(?:linux(?:16|efi)?|module2?)\s+((?:\"[^\"]*\"|'[^']*'|\S)+)(.*)", line)
                if loads:
                    inside["linux"], inside["rescue"] = re.sub("[\"']", "", loads[1]), to_prompt(loads[2])
        return out

    def grub() -> tuple[str, list[dict[str, Any]]]:
        config = text("boot/grub/grub.cfg")
        asked = "\n".join(
            text("etc/default", f) for f in ["grub", *(f"grub.d/{n}" for n in names("etc/default/grub.d"))]
        )
        # What update-grub has made of the settings comes before the settings.
        made = [d for d in re.findall(r"^\s*set default=[\"']?([^\"'\n]*)", config, re.M) if "next_entry" not in d]
        chosen = (made or re.findall(r"^\s*GRUB_DEFAULT=[\"']?([^\"'\n#]*)", asked, re.M) or [""])[-1].strip()
        environment = dict(line.split("=", 1) for line in text("boot/grub/grubenv").splitlines() if "=" in line)
        if chosen in ("saved", "${saved_entry}"):
            chosen = environment.get("saved_entry", "")
        return environment.get("next_entry") or chosen, grub_entries(config)

    def systemd_boot() -> tuple[str, list[dict[str, Any]]]:
        chosen, out = "", []
        for top in ("efi", "boot/efi", "boot"):
            asked = re.findall(r"^\s*default\s+(\S+)", text(top, "loader/loader.conf"), re.M)
            chosen = chosen or (asked[-1] if asked else "")
            for name in names(top, "loader/entries"):
                if name.endswith(".conf"):
                    lines = [li.split(None, 1) for li in text(top, "loader/entries", name).splitlines()]
                    said = {words[0]: words[1].strip() for words in lines if len(words) > 1}
                    kernel = said.get("linux") or said.get("uki") or ""
                    told = " ".join(words[1] for words in lines if words[0] == "options" and len(words) > 1)
                    what = f"{kernel} {said.get('version', '')}" if kernel else ""
                    out.append((name, said.get("title", ""), what, to_prompt(told)))
            out += [(name, "", name, False) for name in names(top, "EFI/Linux") if name.lower().endswith(".efi")]
        entries = []
        for name, title, linux, rescue in out:
            # "+0-3": tried three times in vain, and none left; such an entry comes last.
            tries = re.search(r"\+(\d+)(-\d+)?(?=\.\w+$)", name)
            entries.append({
                "at": "last" if tries and tries[1] == "0" else "", "id": name.replace(tries[0], "") if tries else name,
                "title": title, "linux": linux, "menu": False, "rescue": rescue,
            })  # fmt: skip
        chosen = variable("LoaderEntryOneShot") or variable("LoaderEntryDefault") or chosen
        return (variable("LoaderEntryLastBooted") if chosen == "@saved" else chosen), entries

    def starts(option: bytes) -> tuple[bytes, str]:
        """The partition and the path ("/efi/debian/shimx64.efi") of an EFI_LOAD_OPTION, b"" and "" where it has none.
        https://uefi.org/specs/UEFI/2.10/03_Boot_Manager.html#load-options (attributes, length of the device path, words)"""
        at = next((i + 2 for i in range(6, len(option) - 1, 2) if option[i : i + 2] == b"\0\0"), len(option))
        end = min(at + int.from_bytes(option[4:6], "little"), len(option))
        partition, path = b"", ""
        while at + 4 <= end:
            size = max(int.from_bytes(option[at + 2 : at + 4], "little"), 4)
            kind, value = option[at : at + 2], option[at + 4 : min(at + size, end)]
            if kind == b"\4\1":
                partition = value
            elif kind == b"\4\4":
                path += "/" + value.decode("utf-16-le", "replace").partition("\0")[0].replace("\\", "/")
            at += size
        return partition, re.sub("/+", "/", path.lower())

    def same(following: bytes, now: bytes) -> bool:
        """Whether an entry of the firmware's starts this system's own boot loader, by another name."""
        said = re.search(r"^ID=[\"']?([\w.-]+)", text("etc/os-release"), re.M)
        folder = re.escape(said[1].lower()) if said else "(?!)"
        own = rf"/efi/{folder}/" + (r"(shim|systemd-boot)" if loader == "systemd-boot" else r"(shim|grub)") + r"\w*\.efi"
        if loader == "systemd-boot":
            own += r"|/efi/systemd/systemd-boot\w*\.efi"
        (there, path), (here, _) = starts(following), starts(now)
        # Another disk's system of the same distribution has a folder of the same name.
        return bool(re.fullmatch(own, path)) and (there == here or not there or not here)

    def firmware() -> str:
        # BootNext is gone with the boot that it was for.
        now, following = efi("BootCurrent-8be4df61-*"), efi("BootNext-8be4df61-*")
        if len(following) != 2 or following == now:
            return ""
        number = f"Boot{int.from_bytes(following, 'little'):04X}"
        option = efi(f"{number}-8be4df61-*")
        words = option[6:].decode("utf-16-le", "replace").partition("\0")[0]
        # fwupd's updater may be started by this system's own shim, and is named all the same.
        if "firmware" not in words.lower() and same(option, efi(f"Boot{int.from_bytes(now, 'little'):04X}-8be4df61-*")):
            return ""
        return words or number

    said = variable("LoaderInfo")
    own = any(names(top, "loader/entries") or text(top, "loader/loader.conf") for top in ("efi", "boot/efi", "boot"))
    if said.startswith("systemd-boot") or (own and not said and not names("boot/grub")):
        loader, (chosen, entries) = "systemd-boot", systemd_boot()
    else:
        loader = "grub" if names("boot/grub") or text("etc/default/grub") else ""
        chosen, entries = grub()
    return {"loader": loader, "chosen": chosen, "firmware": firmware(), "entries": entries}
