#!/bin/sh
# prosody.sh DIR: Prosody on loopback, all of it in DIR, where srv.crt and
# srv.key must be. It prints "ready PID" once it answers, and stops it when its
# input ends.
#
# The ports STARTTLS and TLS come from the environment. The accounts are vigil
# and admin, with the passwords pass-vigil and pass-admin, in two domains:
# xmpp.test keeps passwords for SCRAM-SHA-256, old.test for SCRAM-SHA-1 and
# speaks TLS 1.2 at most.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
"$here/install.sh" prosody >&2

# On the port for direct TLS only certificates from this folder are used.
mkdir -p "$dir/data" "$dir/certs"
cp "$dir/srv.crt" "$dir/srv.key" "$dir/certs"
cat >"$dir/cfg.lua" <<C
pidfile = "$dir/prosody.pid"
data_path = "$dir/data"
certificates = "$dir/certs"
interfaces = { "127.0.0.1" }
c2s_ports = { $STARTTLS }
c2s_direct_tls_ports = { $TLS }
s2s_ports = { }
http_ports = { }
https_ports = { }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "offline", "smacks", "posix" }
modules_disabled = { "s2s" }
allow_registration = false
c2s_require_encryption = true
authentication = "internal_hashed"
storage = "internal"
log = { { levels = { min = "info" }, to = "file", filename = "$dir/prosody.log" } }
VirtualHost "xmpp.test"
  password_hash = "SHA-256"
  ssl = { key = "$dir/srv.key", certificate = "$dir/srv.crt" }
VirtualHost "old.test"
  ssl = { key = "$dir/srv.key", certificate = "$dir/srv.crt", protocol = "tlsv1_2" }
C
chown -R prosody:prosody "$dir"
as="setpriv --reuid prosody --regid prosody --init-groups"
for user in vigil admin; do
	for domain in xmpp.test old.test; do
		$as prosodyctl --config "$dir/cfg.lua" register $user $domain pass-$user >&2 &
	done
done
wait

$as prosody --config "$dir/cfg.lua" -F >&2 &
prosody=$!
stop() {
	trap - EXIT
	kill -CONT "$prosody" 2>/dev/null || true
	kill "$prosody" 2>/dev/null || true
	wait
	sed 's/^/prosody: /' "$dir/prosody.log" >&2 || true
}
trap stop EXIT
trap 'exit 1' INT TERM

tries=0
until ss -ltn | grep -q "127.0.0.1:$STARTTLS " && ss -ltn | grep -q "127.0.0.1:$TLS "; do
	tries=$((tries + 1))
	[ $tries -lt 200 ] && kill -0 "$prosody" || exit 1
	sleep 0.05
done
echo "ready $prosody"
cat >/dev/null
