#!/usr/bin/env bash
# ./dist.sh [FOLDER] builds the files of a release from the last commit, in dist/
# or FOLDER: static binaries for each system, packages for Debian and an apt
# repository of them, the sources with all they need for a build without a
# network, and checksums.
#
# The same commit, built by the same version of Go, gives the same files bit by
# bit. It takes Go, git, GNU tar, gzip and zip, and dpkg-deb and dpkg-scanpackages
# for the packages. With VIGIL_SIGNING_KEY, the name of a key that gpg has, the
# repository is signed.
set -euo pipefail
umask 022
cd "$(dirname "$0")"

systems="linux/amd64 linux/arm64 linux/arm linux/riscv64 darwin/amd64 darwin/arm64
	freebsd/amd64 freebsd/arm64 windows/amd64"

mkdir -p "${1:-dist}"
out=$(cd "${1:-dist}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in go git tar gzip zip sha256sum; do
	command -v "$tool" >/dev/null || { echo "dist.sh needs $tool" >&2; exit 1; }
done
[ -z "$(git status --porcelain)" ] || echo "note: what is not committed is not in the files"

# A fresh clone is free of whatever else lies about here, and tells Go the commit.
git clone -q --no-hardlinks . "$work/src"
cd "$work/src"
version=$(sed -n 's/^const version = "\(.*\)"$/\1/p' main.go)
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
date=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

# Nothing of the caller's surroundings may get into the files.
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C CGO_ENABLED=0 GOTOOLCHAIN=local
export GOAMD64=v1 GOARM=7 GOARM64=v8.0 GORISCV64=rva20u64
unset GOFLAGS GOEXPERIMENT GOOS GOARCH
export GOFLAGS=

# pack FOLDER FILE puts a folder of $work into a .tar.gz or .zip.
pack() {
	find "$work/$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	case $2 in
	*.zip) (cd "$work" && find "$1" -type f | sort | zip -qX9 - -@ >"$out/$2") ;;
	*) tar -C "$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
		--mtime="@$SOURCE_DATE_EPOCH" -cf - "$1" | gzip -n9 >"$out/$2" ;;
	esac
	files+=("$2")
}

# deb ARCH BINARY makes the package for Debian and its relatives.
deb() {
	local root=$work/deb-$1 file=vigil_${version}_$1.deb doc=usr/share/doc/vigil
	install -D -m 755 "$2" "$root/usr/bin/vigil"
	install -D -m 644 packaging/vigil.service "$root/usr/lib/systemd/system/vigil.service"
	install -D -m 644 config.cfg "$root/etc/vigil/config.cfg"
	install -d "$root/usr/share/man/man1" "$root/$doc/docs" "$root/DEBIAN"
	gzip -n9 <docs/vigil.1 >"$root/usr/share/man/man1/vigil.1.gz"
	install -m 644 README.md PROTOCOL.md CHANGELOG.md "$root/$doc"
	install -m 644 LICENSE "$root/$doc/copyright"
	cp -r docs/. "$root/$doc/docs"
	cp -r packaging/compose.yaml packaging/prometheus packaging/grafana packaging/kubernetes "$root/$doc"
	rm "$root/$doc/docs/vigil.1"
	echo /etc/vigil/config.cfg >"$root/DEBIAN/conffiles"
	install -m 755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN"
	(cd "$root" && find usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
	sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$1/" -e "s/@SIZE@/$(du -sk --apparent-size "$root" | cut -f1)/" \
		packaging/debian/control >"$root/DEBIAN/control"
	dpkg-deb --root-owner-group -Zxz --threads-max=1 -b "$root" "$out/$file" >/dev/null
	files+=("$file")
}

files=()
for system in $systems; do
	os=${system%/*} arch=${system#*/}
	name=vigil-$version-$os-${arch/%arm/armv7}
	binary=vigil
	[ "$os" != windows ] || binary=vigil.exe
	mkdir "$work/$name"
	linking='-s -w -buildid='
	[ "$arch" != amd64 ] || linking+=' -funcalign=16' # as on the others; 32 takes 0.12 MiB more
	GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=true -tags timetzdata -ldflags "$linking" \
		-o "$work/$name/$binary" .
	cp -r README.md PROTOCOL.md CHANGELOG.md LICENSE config.cfg docs packaging/vigil.service packaging/compose.yaml \
		packaging/prometheus packaging/grafana packaging/kubernetes "$work/$name"
	if [ "$os" = linux ] && command -v dpkg-deb >/dev/null; then
		deb "${arch/%arm/armhf}" "$work/$name/vigil"
	fi
	if [ "$os" = windows ]; then
		pack "$name" "$name.zip"
	else
		pack "$name" "$name.tar.gz"
	fi
	echo "built $name"
done
command -v dpkg-deb >/dev/null || echo "note: no dpkg-deb here, so there are no .deb files"

# The sources, with the modules they are built from and the commit they are of.
name=vigil-$version-src
mkdir "$work/$name"
git archive HEAD | tar -xf - -C "$work/$name"
cd "$work/$name"
go mod vendor
sed -i "s/^const archiveCommit, archiveDate = .*/const archiveCommit, archiveDate = \"${commit:0:12}\", \"$date\"/" main.go
grep -q "$date" main.go
pack "$name" "$name.tar.gz"
echo "built $name"

# An apt repository: its packages in pool/, its lists in dists/. The date of the
# commit is that of the lists.
if command -v dpkg-scanpackages >/dev/null; then
	rm -rf "$out/apt"
	dist=dists/stable
	mkdir -p "$out/apt/pool/main"
	cp "$out"/vigil_*.deb "$out/apt/pool/main"
	cd "$out/apt"
	for arch in amd64 arm64 armhf riscv64; do
		mkdir -p "$dist/main/binary-$arch"
		dpkg-scanpackages --arch "$arch" pool 2>/dev/null >"$dist/main/binary-$arch/Packages"
		gzip -n9k "$dist/main/binary-$arch/Packages"
	done
	{
		printf '%s\n' 'Origin: Vigil' 'Label: Vigil' 'Suite: stable' 'Codename: stable' \
			'Architectures: amd64 arm64 armhf riscv64' 'Components: main' \
			"Date: $(date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S UTC')" 'SHA256:'
		(cd "$dist" && find main -type f | sort | while read -r file; do
			printf ' %s %s %s\n' "$(sha256sum <"$file" | cut -d' ' -f1)" "$(stat -c %s "$file")" "$file"
		done)
	} >"$dist/Release"
	if [ -n "${VIGIL_SIGNING_KEY-}" ]; then
		gpg --batch --yes -u "$VIGIL_SIGNING_KEY" --clearsign -o "$dist/InRelease" "$dist/Release"
		gpg --batch --yes -u "$VIGIL_SIGNING_KEY" --armor --detach-sign -o "$dist/Release.gpg" "$dist/Release"
	fi
	find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	echo 'built apt'
else
	echo "note: no dpkg-scanpackages here, so there is no apt repository"
fi

cd "$out"
sha256sum "${files[@]}" >SHA256SUMS
