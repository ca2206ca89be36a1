#!/bin/sh
# rabbitmq.sh DIR: RabbitMQ with its management plugin on loopback, all of it
# in DIR. It prints "ready PID" once both answer, and stops it when its input
# ends.
#
# The ports AMQP, API, DIST and EPMD come from the environment. The user vigil
# with the password pass-vigil may do anything with the virtual host "/".
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
"$here/install.sh" rabbitmq-server amqp-tools >&2

mkdir -p "$dir/log" "$dir/mnesia"
cat >"$dir/rabbitmq.conf" <<C
listeners.tcp.1 = 127.0.0.1:$AMQP
management.tcp.ip = 127.0.0.1
management.tcp.port = $API
collect_statistics_interval = 1000
default_user = vigil
default_pass = pass-vigil
default_user_tags.monitoring = true
C
echo '[rabbitmq_management].' >"$dir/enabled_plugins"
chown -R rabbitmq:rabbitmq "$dir"
cd "$dir"

# The port mapper and the distribution of Erlang stay on loopback, too.
export HOME="$dir" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$EPMD" \
	RABBITMQ_NODENAME="vigil$AMQP@localhost" RABBITMQ_CONF_ENV_FILE=/dev/null \
	RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
	RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_PID_FILE="$dir/rabbit.pid" \
	RABBITMQ_DIST_PORT="$DIST" \
	RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
as="setpriv --reuid rabbitmq --regid rabbitmq --init-groups"
$as epmd -address 127.0.0.1 -port "$EPMD" >&2 &
epmd=$!
$as /usr/lib/rabbitmq/bin/rabbitmq-server >"$dir/out" 2>&1 &
server=$!
stop() {
	trap - EXIT
	# The shell that waits for the Erlang machine leaves with it.
	kill "$(cat "$dir/rabbit.pid")" "$server" 2>/dev/null || true
	wait "$server" || true
	kill "$epmd" 2>/dev/null || true
	wait
	sed 's/^/rabbitmq: /' "$dir/out" >&2 || true
}
trap stop EXIT
trap 'exit 1' INT TERM

tries=0
until ss -ltn | grep -q "127.0.0.1:$AMQP " && ss -ltn | grep -q "127.0.0.1:$API "; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] && kill -0 "$server" || exit 1
	sleep 0.1
done
echo "ready $(cat "$dir/rabbit.pid")"
cat >/dev/null
