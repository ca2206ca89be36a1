#!/bin/sh
# ejabberd.sh DIR: ejabberd on loopback, all of it in DIR, where srv.crt and
# srv.key must be. It prints "ready PID" once it answers, and stops it when its
# input ends.
#
# The ports STARTTLS, OLD (the same, but TLS 1.2 at most), TLS and DIST (for its
# own control program) come from the environment. The accounts are vigil and
# admin, with the passwords pass-vigil and pass-admin, in xmpp.test.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
"$here/install.sh" ejabberd >&2

mkdir -p "$dir/conf" "$dir/log" "$dir/spool"
cat "$dir/srv.crt" "$dir/srv.key" >"$dir/conf/srv.pem"
cp /etc/ejabberd/inetrc "$dir/conf/"
# With a port of its own it needs no epmd, which would stay behind.
cat >"$dir/conf/ejabberdctl.cfg" <<C
INET_DIST_INTERFACE=127.0.0.1
ERLANG_NODE=vigil$DIST@localhost
ERL_DIST_PORT=$DIST
EJABBERD_PID_PATH=$dir/ejabberd.pid
C
cat >"$dir/conf/ejabberd.yml" <<C
hosts: [ "xmpp.test" ]
loglevel: info
certfiles: [ $dir/conf/srv.pem ]
auth_method: internal
auth_password_format: scram
auth_scram_hash: sha256
listen:
  - { port: $STARTTLS, ip: "127.0.0.1", module: ejabberd_c2s, starttls_required: true, access: c2s }
  - { port: $OLD, ip: "127.0.0.1", module: ejabberd_c2s, starttls_required: true, access: c2s, protocol_options: [ no_tlsv1_3 ] }
  - { port: $TLS, ip: "127.0.0.1", module: ejabberd_c2s, tls: true, access: c2s }
access_rules: { c2s: { allow: all } }
modules: { mod_offline: {}, mod_ping: {}, mod_roster: {}, mod_disco: {}, mod_stream_mgmt: {}, mod_admin_extra: {} }
C
chown -R ejabberd:ejabberd "$dir"
ctl() {
	HOME="$dir/spool" setpriv --reuid ejabberd --regid ejabberd --init-groups \
		ejabberdctl --config-dir "$dir/conf" --config "$dir/conf/ejabberd.yml" \
		--ctl-config "$dir/conf/ejabberdctl.cfg" --logs "$dir/log" --spool "$dir/spool" "$@"
}

ctl foreground >&2 &
pid=
stop() {
	trap - EXIT
	if [ -n "$pid" ]; then
		kill -CONT "$pid" 2>/dev/null || true
		kill "$pid" 2>/dev/null || true
	fi
	wait
}
trap stop EXIT
trap 'exit 1' INT TERM

tries=0
until ss -ltn | grep -q "127.0.0.1:$TLS " && [ -s "$dir/ejabberd.pid" ]; do
	[ -s "$dir/ejabberd.pid" ] && pid=$(cat "$dir/ejabberd.pid")
	tries=$((tries + 1))
	[ $tries -lt 600 ] || exit 1
	sleep 0.05
done
pid=$(cat "$dir/ejabberd.pid")
for user in vigil admin; do
	ctl register $user xmpp.test pass-$user >&2
done
echo "ready $pid"
cat >/dev/null
