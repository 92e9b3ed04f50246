"""Two kernels in one tree: the one that the driver was built for comes as an upgrade, after the machine has booted the other.

dpkg's own part of an upgrade (unpacking, DKMS, the initrd) is done in systemd-nspawn; in software it would take twenty minutes.
In the virtual machine the new kernel then appears in /boot, which is what a boot loader and the component go by.
"""

from __future__ import annotations

from tests.vm.machine import VmMachine

from holdfast.lab.vm import dress

AWAY = "/boot/upgrade"
# The next older one in the archive, which keeps what it had, though linux-image-amd64 is of the newest alone. Of the same
# flavour: for another one the component would, rightly, have DKMS build there.
_OLD = """
set -e
apt-get -q update
images=$(apt-cache pkgnames linux-image- | grep -x 'linux-image-[^a-z]*deb13[.0-9]*-amd64' | sort -V)
image=$(echo "$images" | grep -x -B1 'linux-image-NEW' | head -n 1)
test "$image" != 'linux-image-NEW' || { echo "the archive has no older kernel: $images"; exit 1; }
DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$image"
"""


def put_away(machine: VmMachine) -> str:
    """Install an older kernel and put the newer one out of the boot loader's sight; returns the newer one's release."""
    new = machine.root("ls /boot/vmlinuz-* | sed 's,/boot/vmlinuz-,,' | sort -V | tail -n 1").strip()
    dress.small_initrd(machine.layout.tree)  # for both: a large one takes long to make, and longer to boot
    machine.root(_OLD.replace("NEW", new))
    machine.root(f"update-initramfs -u -k {new}")
    machine.root(f"mkdir {AWAY} && mv /boot/*-{new} {AWAY}")
    left = machine.root("ls /boot/vmlinuz-*").split()
    assert len(left) == 1, left
    return new


def upgrade(machine: VmMachine) -> None:
    """The newer kernel is the one that boots next."""
    machine.root(f"mv {AWAY}/* /boot && rmdir {AWAY}")
