#!/usr/bin/env bash
# packaging/check_image.sh RELEASE DEBIAN builds the container image with Docker, by
# the README's commands and from the source archive in the folder RELEASE, and
# runs it. Docker has no network: the official Go image that the Dockerfile builds
# with is stood in for by DEBIAN, a tar archive that check.sh makes, with this
# machine's Go. So what it builds with has no digests, which nothing can stand in
# for. It takes root, and about two minutes.
set -euo pipefail
release=$(realpath "$1")
debian=$(realpath "$2")
cd "$(dirname "$0")/.."

fail() { echo "FAILED: $*" >&2; exit 1; }

if [ -z "${VIGIL_CHECK_ALONE-}" ]; then
	testdata/peers/install.sh docker.io iptables curl python3-venv busybox-static
	venv=$(mktemp -d)
	python3 -m venv "$venv"
	if "$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r testdata/peers/hadolint.txt >"$venv/pip.log" 2>&1; then
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
golang=$(sed -n 's/^FROM \(golang:[^ @]*\)@[^ ]* AS build$/\1/p' packaging/Dockerfile)
tar -C "$work/base" -c . | docker import -c 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin' - "$golang" >/dev/null
rm -rf "$work/base"

# Alpine is stood in for by what it is made of: busybox, as Debian builds it.
mkdir -p "$work"/small/{bin,sbin,etc,tmp,usr/local/bin,usr/bin,usr/sbin,usr/share,lib,proc,sys,dev}
chmod 1777 "$work/small/tmp"
cp "$(command -v busybox)" "$work/small/bin/busybox"
for applet in $("$work/small/bin/busybox" --list); do
	[ -e "$work/small/bin/$applet" ] || ln -s busybox "$work/small/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$work/small/etc/passwd"
echo 'root:x:0:' >"$work/small/etc/group"
alpine=$(sed -n 's/^FROM \(alpine:[^ @]*\)@[^ ]*$/\1/p' packaging/Dockerfile)
tar -C "$work/small" -c . | docker import -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$alpine" >/dev/null

# The documented two commands; the second keeps running, so that it goes to the
# background. Its container is the only one.
document=$(grep -l '^docker build ' README.md docs/*.md | head -n 1)
commands=$(awk '/^```/ && block { if (found) exit; block = 0 } block { text = text $0 "\n" }
	block && /^docker build / { found = 1 } /^```sh$/ { block = 1; text = "" } END { printf "%s", text }' "$document")
build=$(grep '^docker build ' <<<"$commands")
run=$(grep '^docker run ' <<<"$commands")
tar -C "$work/src" --strip-components=1 -xzf "$release"/vigil-*-src.tar.gz
cd "$work/src"
sed -i '/^FROM /s/@sha256:[0-9a-f]*//' packaging/Dockerfile

# built NAME COMMAND builds an image, tells its size and looks whether the program
# knows its commit.
built() {
	echo "\$ $2"
	sh -ec "$2" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail 'the build'; }
	docker image inspect "$1" --format "image $1: {{.Size}} bytes, user {{.Config.User}}, volumes {{.Config.Volumes}}"
	[ "$(docker image inspect "$1" --format '{{.Size}}')" -le "$3" ] || fail "the image $1 is larger than $3 bytes"
}
built vigil:static "${build/-t vigil/--target static -t vigil:static}" $((15 << 20))
docker run --rm vigil:static version | grep '(commit ' || fail 'the program in it does not know its commit'
# Alpine itself has 8.4 MiB, its stand-in the size of busybox.
small=$(du -sb "$work/small" | cut -f1)
built vigil "$build" $(((25 << 20) - (17 << 19) + small))
docker run --rm vigil vigil version | grep '(commit ' || fail 'the program in it does not know its commit'

sed -i -e 's/^inet = .*/inet = "0.0.0.0:8080"/' config.cfg
grep -q '^inet = "0.0.0.0:8080"' config.cfg || sed -i 's/^\[server\]$/&\ninet = "0.0.0.0:8080"/' config.cfg
# served COMMAND runs a docker command and waits until the page is there.
served() {
	echo "\$ $1"
	sh -c "exec $1" >"$work/run.log" 2>&1 &
	client=$!
	until_true 30 curl -sf http://127.0.0.1:8080/status/text || { cat "$work/run.log"; exit 1; }
	container=$(docker ps -q)
}
# started ARGUMENT... serves the documented command with more arguments to docker run.
started() { served "${run/docker run/docker run${*:+ $*}}"; }
inside() { docker inspect "$container" --format "$1"; }
says() { [ "$(curl -s http://127.0.0.1:8080/status/text)" = "$1" ]; }
# ended stops the container and waits for its clean end.
ended() {
	docker stop "$container" >/dev/null
	wait "$client" || fail "docker run ends with $?"
	[ "$(inside '{{.State.ExitCode}}')" = 0 ] || fail 'no clean end after SIGTERM'
	docker rm "$container" >/dev/null
}

started
[ "$(stat -c %u "/proc/$(inside '{{.State.Pid}}')")" = 65532 ] || fail 'it does not run as the user of the image'
docker exec "$container" vigil health -c /etc/vigil.cfg
docker exec "$container" /bin/vigil version >/dev/null || fail 'no program at /bin/vigil'
docker exec "$container" /usr/local/bin/vigil version >/dev/null || fail 'no program at /usr/local/bin/vigil'
[ "$(docker exec -e TZ=Asia/Tokyo "$container" date +%z)" = +0900 ] || fail 'no time zones for scripts'
until_true 60 sh -c "[ \$(docker inspect $container --format '{{.State.Health.Status}}') = healthy ]"
data=$(docker volume inspect vigil --format '{{.Mountpoint}}')
[ -n "$(ls "$data/")" ] || fail 'nothing is kept in /data'
[ "$(stat -c %u "$data")" = 65532 ] || fail 'the volume is not of the user of the image'
until_true 60 says healthy # the sample's last node is a script

# A config with a mistake is refused, one without is taken over. It is written in
# place: what is mounted is the file, not its name.
good=$(sed 's/^page_title = .*/page_title = "Reloaded"/' config.cfg)
echo 'page_title = ' >config.cfg
docker kill -s HUP "$container" >/dev/null
until_true 20 grep -F 'reload failed, keeping the current config' "$work/run.log"
echo "$good" >config.cfg
docker kill -s HUP "$container" >/dev/null
until_true 20 sh -c 'case $(curl -sf http://127.0.0.1:8080/) in *Reloaded*) ;; *) exit 1 ;; esac'
ended

# The same, with no right and a root that cannot be written, finds its data again.
started --read-only --cap-drop ALL --security-opt no-new-privileges
until_true 60 sh -c "[ \$(docker inspect $container --format '{{.State.Health.Status}}') = healthy ]"
grep -F 'opened the storage folder' "$work/run.log" | grep -v 'replicas=0'
ended

# As a compose file made for the Rust Vigil has it, `command: vigil -c /etc/vigil.cfg`,
# with its assets folder, a script, a ping, and processes that scripts leave behind.
cat >rust.cfg <<'END'
[server]
inet = "0.0.0.0:8080"
reporter_token = "a reporter's token"
[assets]
path = "/usr/src/vigil/res/assets/"
[branding]
page_title = "From the Rust image"
page_url = "https://status.example.com/"
company_name = "Acme"
[metrics]
script_interval = 1
[[probe.service]]
id = "here"
label = "Here"
[[probe.service.node]]
id = "script"
label = "Script"
mode = "script"
scripts = ["setsid sleep 60 >/dev/null 2>&1 & sleep 0.5; wget -q -O /dev/null http://127.0.0.1:8080/status/text"]
[[probe.service.node]]
id = "ping"
label = "Ping"
mode = "poll"
replicas = ["icmp://127.0.0.1"]
END
served 'docker run -p 8080:8080 -v "$PWD/rust.cfg:/etc/vigil.cfg" vigil vigil -c /etc/vigil.cfg'
until_true 60 says healthy
! grep -F 'assets.path' "$work/run.log" || fail 'it warns of the assets folder of the Rust image'
# A script a second leaves a child in a session of its own, which is killed and
# reaped with it.
until_true 30 sh -c "docker exec $container ps -o pid,stat,args | grep -q '[s]leep 60'"
sleep 5 # five more of them have ended by then
left=$(docker exec "$container" ps -o args | grep -c '^sleep 60' || true)
[ "$left" -le 1 ] || fail "$left children of scripts are left"
left=$(docker exec "$container" ps -o stat | grep -c '^Z' || true)
[ "$left" -le 2 ] || fail "$left zombies: process 1 does not reap"
ended

# A derived image: steps in the shell of the base, files in the Rust image's place.
mkdir -p derived/public
echo 'User-agent: derived' >derived/robots.txt
cp rust.cfg derived/vigil.cfg
cat >derived/Dockerfile <<'END'
FROM vigil
USER root
RUN echo 'ops:x:1000:1000::/:/bin/sh' >>/etc/passwd && command -v wget | grep .
COPY robots.txt /usr/src/vigil/res/assets/robots.txt
COPY vigil.cfg /etc/vigil.cfg
USER ops
END
echo '$ docker build -t derived derived'
docker build -t derived derived >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail 'the derived image'; }
served 'docker run -p 8080:8080 derived'
curl -sf http://127.0.0.1:8080/robots.txt | grep -q 'User-agent: derived' || fail 'its assets folder is not used'
ended

# A config that the user of the image cannot read is told, with what to do.
chmod 600 rust.cfg
! docker run --rm -v "$PWD/rust.cfg:/etc/vigil.cfg" vigil >"$work/run.log" 2>&1 || fail 'it reads a file of mode 0600 of root'
cat "$work/run.log"
grep -F '/etc/vigil.cfg' "$work/run.log" | grep -F 'user 65532' || fail 'no word of whose the file must be'
