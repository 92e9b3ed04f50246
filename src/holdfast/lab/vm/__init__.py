"""The workstation as a virtual machine: a disk made of a Debian tree, qemu with its own kernel, a cable into the lab."""
