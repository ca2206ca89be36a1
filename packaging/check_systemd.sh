#!/usr/bin/env bash
# packaging/check_systemd.sh RELEASE DEBIAN boots a Debian, with its own kernel and
# systemd, in an emulated machine. In there check_systemd_inside.sh installs the
# files of the folder RELEASE by the README's commands, uses the service in every
# way and takes it away again. DEBIAN is a tar archive of that Debian, which
# check.sh makes.
#
# The machine is emulated in software, as what a kernel offers to a faster one, or
# to a container with systemd in it, differs from host to host. It takes root, to
# unpack the archive, and about two minutes.
set -euo pipefail
release=$(realpath "$1")
debian=$(realpath "$2")
cd "$(dirname "$0")/.."

fail() { echo "FAILED: $*" >&2; exit 1; }

testdata/peers/install.sh qemu-system-x86 e2fsprogs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=$work/root
mkdir "$root"
tar -C "$root" -xf "$debian"
install -d "$root/check/release" "$root/check/readme" "$root/var/log/journal"
cp "$release"/vigil-*-linux-amd64.tar.gz "$release"/vigil_*_amd64.deb "$release/SHA256SUMS" "$root/check/release"
cp -r "$release/apt" "$root/check/apt"
cp packaging/check_systemd_inside.sh "$root/check/inside.sh"

# fence NAME TEXT takes out the documents' first block of commands after a line that
# begins with TEXT.
fence() {
	awk -v text="$2" '
		index($0, text) == 1 { found = 1 }
		/^```/ && block { exit }
		block
		found && /^```sh$/ { block = 1 }
	' README.md docs/*.md >"$root/check/readme/$1.sh"
	[ -s "$root/check/readme/$1.sh" ] || fail "no document has commands after $2"
}
fence release '**A release.**'
fence by_hand '## systemd'
fence debian '**Debian and derivatives**'

# The next version: the same program, and a config that has grown.
dpkg-deb -R "$root"/check/release/vigil_*_amd64.deb "$work/newer"
sed -i 's/^Version: .*/&+1/' "$work/newer/DEBIAN/control"
echo '# new in this version' >>"$work/newer/etc/vigil/config.cfg"
dpkg-deb --root-owner-group -b "$work/newer" "$root/check/newer.deb" >/dev/null

# A stand-in for the package of the Rust Vigil: its name, its version, its files, and
# a program that only stays.
rust=$work/rust
install -d "$rust/DEBIAN" "$rust/usr/bin" "$rust/etc/vigil" "$rust/lib/systemd/system"
printf '%s\n' '#!/bin/sh' 'exec sleep infinity' >"$rust/usr/bin/vigil"
chmod 755 "$rust/usr/bin/vigil"
sed 's/^page_title = .*/page_title = "From the Rust package"/' config.cfg >"$rust/etc/vigil/vigil.cfg"
printf '%s\n' '[Service]' 'ExecStart=/usr/bin/vigil -c /etc/vigil/vigil.cfg' '[Install]' 'WantedBy=multi-user.target' \
	>"$rust/lib/systemd/system/vigil.service"
printf '%s\n' 'Package: vigil' 'Version: 1.29.0-1' 'Architecture: amd64' 'Maintainer: nobody <nobody@localhost>' \
	'Description: stand-in' >"$rust/DEBIAN/control"
echo /etc/vigil/vigil.cfg >"$rust/DEBIAN/conffiles"
printf '%s\n' '#!/bin/sh' 'systemctl daemon-reload' 'systemctl enable --now vigil' >"$rust/DEBIAN/postinst"
chmod 755 "$rust/DEBIAN/postinst"
dpkg-deb --root-owner-group -b "$rust" "$root/check/rust.deb" >/dev/null

cat >"$root/etc/systemd/system/check.service" <<'END'
[Unit]
DefaultDependencies=no
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
TimeoutStartSec=15min
ExecStart=/bin/bash /check/inside.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
END
ln -s /etc/systemd/system/check.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
rm -f "$root/etc/resolv.conf"
echo vigil-check >"$root/etc/hostname"
echo '127.0.0.1 localhost vigil-check' >"$root/etc/hosts"
cp "$root"/boot/vmlinuz-* "$work/kernel"
cp "$root"/boot/initrd.img-* "$work/initrd"
truncate -s 1500M "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"

# Each boot ends with a word of the script inside; a machine that hangs is ended.
for boot in first second; do
	timeout 900 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
		-nodefaults -no-reboot -display none -nic none -serial stdio \
		-kernel "$work/kernel" -initrd "$work/initrd" \
		-append "root=/dev/vda rw console=ttyS0 quiet panic=-1 systemd.show_status=no check=$boot" \
		-drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" </dev/null | tr -d '\r' | tee "$work/console"
	grep -q "^CHECK PASSED: $boot boot$" "$work/console" || fail "the service, on its $boot boot"
done
