#!/usr/bin/env bash
# packaging/check.sh holds the files of a release to what is promised of them: it
# builds them, starts the Linux ones, and installs and uses them under a real
# systemd (check_systemd.sh) and a real Docker (check_image.sh). It takes root on a
# Debian machine for amd64, and leaves nothing there but Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n-- %s (%d s)\n' "$*" "$SECONDS"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

testdata/peers/install.sh zip unzip binutils man-db groff iproute2 util-linux qemu-user-static mmdebstrap dpkg-dev gnupg
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT

step 'all files, twice, the same bit by bit'
./dist.sh "$work/one"
(umask 077 && TZ=Asia/Tokyo GOAMD64=v3 GOFLAGS=-v ./dist.sh "$work/two" >/dev/null)
diff -r "$work/one" "$work/two" || fail 'two builds differ'
rm -r "$work/two"
(cd "$work/one" && sha256sum -c --quiet SHA256SUMS)
version=$(sed -n 's/^const version = "\(.*\)"$/\1/p' main.go)
commit=$(git rev-parse --short=12 HEAD)

# linked FILE SETTING... looks for settings of the build in a program.
linked() {
	local settings setting
	settings=$(go version -m "$1")
	shift
	for setting; do
		grep -q "$(printf '\tbuild\t%s' "$setting")" <<<"$settings" || fail "not built with $setting"
	done
}

step 'what is in them'
for system in linux/amd64 linux/arm64 linux/armv7 linux/riscv64 darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64 windows/amd64; do
	name=vigil-$version-${system/\//-}
	vigil=$work/$name/vigil
	if [[ $system = windows/* ]]; then
		unzip -q "$work/one/$name.zip" -d "$work"
		vigil+=.exe
	else
		tar -C "$work" -xzf "$work/one/$name.tar.gz"
	fi
	size=$(stat -c %s "$vigil")
	printf '%-15s %8d bytes\n' "$system" "$size"
	arch=${system#*/}
	linked "$vigil" "GOOS=${system%/*}\$" "GOARCH=${arch/armv7/arm}\$" 'CGO_ENABLED=0$' '-trimpath=true$' "vcs.revision=$commit" 'vcs.modified=false$'
	for file in README.md LICENSE CHANGELOG.md PROTOCOL.md config.cfg docs/moving.md docs/vigil.1; do
		cmp "$file" "$work/$name/$file"
	done
	cmp packaging/vigil.service "$work/$name/vigil.service"
	for folder in prometheus grafana kubernetes; do
		diff -r "packaging/$folder" "$work/$name/$folder"
	done
	# The limit is for Linux: the formats of the others take more for the same. It
	# keeps today's size; the aim is 12.5 MiB.
	case $system in linux/*)
		[ "$size" -le $((14 << 20)) ] || fail "the program for $system is larger than 14 MiB"
		parts=$(readelf -SlW "$vigil")
		[[ $parts == *.text* && $parts != *.symtab* ]] || fail "the program for $system is not stripped"
		[[ $parts != *INTERP* ]] || fail "the program for $system is not static"
		;;
	esac
done
for arch in amd64 arm64 armhf riscv64; do
	[ "$(dpkg-deb -f "$work/one/vigil_${version}_$arch.deb" Package Version Architecture | cut -d' ' -f2 | xargs)" = "vigil $version $arch" ] ||
		fail "the package for $arch says that it is another"
done

# The Rust Vigil's last package is 1.29.0-1; ours of the same name must replace it.
dpkg --compare-versions "$version" gt 1.29.0-1 || fail "version $version does not sort after the Rust Vigil's"
(cd "$work/one/apt/dists/stable" && sed -n 's/^ \([0-9a-f]\{64\}\) [0-9]* \(.*\)$/\1  \2/p' Release | sha256sum -c --quiet -)
[ "$(grep -c '^ [0-9a-f]\{64\} ' "$work/one/apt/dists/stable/Release")" = 8 ] || fail 'the apt repository lacks a list'

cat >"$work/alone.sh" <<-'END'
	ip link set lo up
	cd "$1"
	shift
	as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all env -i"
	$as_nobody "$@" version
	$as_nobody "$@" check >/dev/null || exit 1
	$as_nobody "$@" >../alone.log 2>&1 &
	for _ in $(seq 150); do
		if $as_nobody "$@" health 2>/dev/null; then
			curl -sf http://127.0.0.1:8080/ | grep -q '</html>' || exit 1
			kill $!
			wait $!
			exit
		fi
		sleep 0.2
	done
	kill $!
	exit 1
END
# alone COMMAND... runs a Vigil as nobody, without any right or network, in an empty
# folder, with nothing of this machine's but its kernel.
alone() {
	mkdir "$work/empty"
	chown 65534:65534 "$work/empty"
	unshare -n sh "$work/alone.sh" "$work/empty" "$@" || { cat "$work/alone.log"; fail "it does not serve: $*"; }
	rm -r "$work/empty"
}

step 'each Linux program alone, in an empty folder, without a network or rights'
vigil=$work/vigil-$version-linux-amd64/vigil
"$vigil" version | grep -q "^vigil $version (commit $commit, 20" || fail 'vigil version does not tell the commit'
alone "$vigil"
# Those for other processors run in an emulator of them.
alone /usr/bin/qemu-aarch64-static "$work/vigil-$version-linux-arm64/vigil"
alone /usr/bin/qemu-arm-static -cpu cortex-a7 "$work/vigil-$version-linux-armv7/vigil"
alone /usr/bin/qemu-riscv64-static "$work/vigil-$version-linux-riscv64/vigil"

step 'a build of the source archive without a network or modules'
tar -C "$work" -xzf "$work/one/vigil-$version-src.tar.gz"
mkdir "$work/gohome"
(cd "$work/vigil-$version-src" && unshare -n env -i PATH="$PATH" HOME="$work/gohome" GOMODCACHE="$work/nomodules" \
	GOCACHE="$work/gocache" GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-mod=vendor CGO_ENABLED=0 go build -o "$work/airgapped" .)
"$work/airgapped" version | grep -q "^vigil $version (commit $commit, 20" || fail 'the archive does not know its commit'
rm -r "$work/gocache"

step 'the manual, without warnings'
warnings=$(MANROFFSEQ='' MANWIDTH=80 man --warnings -l docs/vigil.1 2>&1 >/dev/null)
[ -z "$warnings" ] || fail "$warnings"

step 'a Debian with a kernel, to install into'
mmdebstrap --quiet --variant=minbase bookworm "$work/debian.tar" \
	--include=systemd-sysv,dbus,udev,sudo,curl,procps,ca-certificates,linux-image-cloud-amd64,initramfs-tools

step 'the service: install, start, reload, fail, upgrade, boot, purge'
packaging/check_systemd.sh "$work/one" "$work/debian.tar"

step 'the image: build, run, reload, stop'
packaging/check_image.sh "$work/one" "$work/debian.tar"

step 'the packaging holds'
