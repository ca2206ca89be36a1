#!/bin/bash
# packaging/check_systemd_inside.sh runs as root in the machine that
# check_systemd.sh boots, twice. What it prints goes to the console there.
set -Eeuo pipefail
export DEBIAN_FRONTEND=noninteractive SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0
boot=$(grep -o 'check=[a-z]*' /proc/cmdline)
boot=${boot#check=}
page=http://127.0.0.1:8080/
config=/etc/vigil/config.cfg
manager=(curl -sf -u :manage-me)

step() { printf '   systemd: %s\n' "$*"; }
fail() { echo "FAILED: $*"; exit 1; }
ended() {
	if [ "$1" = 0 ]; then
		echo "CHECK PASSED: $boot boot"
	else
		systemctl status --no-pager --lines=0 vigil || true
		journalctl --no-pager -n 60 -o cat -u vigil || true
		echo "CHECK FAILED: $boot boot"
	fi
}
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
trap 'ended $?' EXIT

# until_true SECONDS COMMAND... waits until the command succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || fail "never came true: $*"
		sleep 0.2
	done
}
property() { systemctl show -P "$1" vigil; }
is() { [ "$(property "$1")" = "$2" ] || fail "$1 is $(property "$1"), not $2"; }
shows() { [[ $(curl -sf "$page") == *"$1"* ]]; }
logged() { [[ $(journalctl -o cat -u vigil --since "@$1") == *"$2"* ]]; }
healthy() { [ "$(curl -sf "$page"status/text)" = healthy ]; }
# as_admin NAME types the commands of the README as an ordinary user with sudo.
as_admin() { runuser -u admin -- sh -e "/check/readme/$1.sh"; }
# gone looks for anything that is left of Vigil on the machine.
gone() {
	local left
	left=$(find / -xdev \( -path /check -o -path /var/log \) -prune -o -iname '*vigil*' -print)
	[ -z "$left" ] || fail "left over: $left"
}

# serving holds the running service to its unit.
serving() {
	systemctl is-active -q vigil
	vigil health -c $config >/dev/null # at once: active means that it serves
	is Type notify
	is SubState running
	[[ $(property StatusText) == "serving http://127.0.0.1:8080/"* ]] || fail "status: $(property StatusText)"
	local pid uid
	pid=$(property MainPID)
	uid=$(stat -c %u "/proc/$pid")
	[ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ] || fail "it runs as user $uid"
	[ "$(stat -c %u /var/lib/vigil/data)" = "$uid" ] || fail 'the data is not its own'
	[ -n "$(ls /var/lib/vigil/data)" ] || fail 'nothing is kept'
	[ "$(stat -Lc %a /var/lib/vigil)" = 700 ] || fail 'others may read the data'
	grep -q '^CapEff:.*0000002000$' "/proc/$pid/status" || fail 'its rights are not CAP_NET_RAW alone'
	grep -q '^NoNewPrivs:.*1$' "/proc/$pid/status"
	grep -q '^Seccomp:.*2$' "/proc/$pid/status"
}

if [ "$boot" = first ]; then
	useradd -m -s /bin/sh -G sudo,adm admin
	echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
	chown -R admin: /check/release
	cd /check/release
	# Without this everybody may send pings here, and nobody needs a right for it.
	echo 'net.ipv4.ping_group_range = 1 0' >/etc/sysctl.d/99-check.conf
	sysctl -qp /etc/sysctl.d/99-check.conf

	step "$(systemctl --version | head -n 1)"
	step 'by hand, as in the README'
	as_admin release
	(as_admin by_hand) | grep -F 'msg="serving the status page"'
	serving
	systemctl is-enabled -q vigil
	systemctl disable -q --now vigil
	rm -r /etc/systemd/system/vigil.service /usr/bin/vigil /etc/vigil /var/lib/vigil /var/lib/private/vigil
	systemctl daemon-reload
	gone

	step 'an upgrade from the package of the Rust Vigil, through an apt repository'
	dpkg -i /check/rust.deb >/dev/null 2>&1
	systemctl is-active -q vigil
	mv /etc/apt/sources.list /check/sources.list
	echo 'deb [trusted=yes] file:/check/apt stable main' >/etc/apt/sources.list.d/vigil.list
	apt-get -qq update
	apt-get -qq -o Dpkg::Options::=--force-confold install vigil >/check/apt.log 2>&1 || { cat /check/apt.log; fail 'the upgrade'; }
	grep -F 'vigil: the service runs with /etc/vigil/vigil.cfg' /check/apt.log
	serving
	until_true 20 shows 'From the Rust package'
	systemctl is-enabled -q vigil
	apt-get -qq purge vigil >/dev/null 2>&1
	rm -rf /etc/vigil /etc/apt/sources.list.d/vigil.list
	mv /check/sources.list /etc/apt/sources.list
	apt-get -qq update 2>/dev/null || true
	gone

	step 'the package, as in the README'
	as_admin debian >/dev/null 2>&1
	serving
	systemctl is-enabled -q vigil
	vigil check -c $config >/dev/null
	systemd-analyze verify --man=no vigil.service
	systemd-analyze security --no-pager --threshold=20 vigil.service | tail -n 1

	step 'pings, scripts and secrets'
	systemctl stop vigil
	! curl -s $page || fail 'it serves after a stop'
	install -m 600 /dev/null /etc/vigil/vigil.env
	echo VIGIL_MANAGER_TOKEN=manage-me >/etc/vigil/vigil.env
	sed -i '/^\[\[probe.service\]\]/,$d' $config
	cat >>$config <<-'END'
		[[probe.service]]
		id = "here"
		label = "Here"
		[[probe.service.node]]
		id = "ping"
		label = "Ping"
		mode = "poll"
		replicas = ["icmp://127.0.0.1", "icmp://[::1]", "tcp://localhost:8080"]
		[[probe.service.node]]
		id = "script"
		label = "Script"
		mode = "script"
		scripts = ['''
		touch data/../by-script && ! touch /etc/by-script 2>/dev/null && ! ls /home/admin 2>/dev/null &&
			df -P / | awk 'NR == 2 && $5 + 0 > 99 { exit 2 }'
		''']
	END
	systemctl start vigil
	serving
	until_true 60 healthy
	[ -e /var/lib/vigil/by-script ] || fail 'the script did not run'
	"${manager[@]}" -d '{"title":"Kept over a restart","text":"..."}' "$page"manager/announcement/ >/dev/null
	until_true 20 shows 'Kept over a restart'

	step 'reload'
	pid=$(property MainPID)
	sed -i 's/^page_title = .*/page_title = "Reloaded"/' $config
	systemctl reload vigil
	until_true 20 shows Reloaded
	cp $config /check/good.cfg
	sed -i 's/^poll_interval = .*/poll_interval = "often"/; s/"Reloaded"/"Wrong"/' $config
	since=$(date +%s)
	! systemctl reload vigil 2>/check/said || fail 'a wrong config was taken'
	cat /check/said
	line=$(grep -n often $config | cut -d: -f1)
	journalctl -o cat -u vigil --since "@$since" | grep -F "$config:$line: metrics.poll_interval: "
	systemctl is-active -q vigil
	since=$(date +%s)
	kill -HUP "$pid" # past the check of the unit
	until_true 20 logged "$since" 'reload failed, keeping the current config'
	[[ $(property StatusText) == 'serving with the current config'* ]] || fail "status: $(property StatusText)"
	shows Reloaded
	cp /check/good.cfg $config
	systemctl reload vigil
	until_true 20 eval '[[ $(property StatusText) == "serving http"* ]]'
	is MainPID "$pid"
	is NRestarts 0

	step 'kill -9'
	kill -9 "$pid"
	until_true 30 eval '[ "$(property NRestarts)" = 1 ] && systemctl is-active vigil'
	serving
	shows 'Kept over a restart'

	step 'a program that hangs'
	since=$(date +%s)
	kill -STOP "$(property MainPID)"
	until_true 90 eval '[ "$(property NRestarts)" = 2 ] && systemctl is-active vigil'
	journalctl -o cat -u vigil --since "@$since" | grep -F 'Watchdog timeout'
	serving

	step 'upgrade'
	pid=$(property MainPID)
	newer() { apt-get -qq -o Dpkg::Options::=--force-confold install /check/newer.deb >/check/apt.log 2>&1 || { cat /check/apt.log; fail 'the upgrade'; }; }
	newer
	[ "$(property MainPID)" != "$pid" ] || fail 'the old program still runs'
	serving
	cmp /check/good.cfg $config || fail 'the upgrade changed the config'
	[ -e $config.dpkg-dist ] || fail 'the new config is not offered'
	shows 'Kept over a restart'
	systemctl stop vigil
	dpkg -i /check/newer.deb >/dev/null 2>&1
	! systemctl is-active -q vigil || fail 'an upgrade starts what was stopped'
	systemctl start vigil
else
	step 'after a boot'
	serving
	until_true 60 healthy
	shows Reloaded
	shows 'Kept over a restart'
	journalctl --no-pager -o cat -u vigil -b -1 | tail -n 3 # how it ended the last time

	step 'remove, and install again'
	dpkg -r vigil >/dev/null
	! pgrep -x vigil || fail 'it still runs'
	[ -f $config ] && [ -d /var/lib/vigil/data ] && [ -f /etc/vigil/vigil.env ] || fail 'it took more than the program'
	dpkg -i --force-confold /check/newer.deb >/dev/null
	serving
	shows 'Kept over a restart'

	step purge
	apt-get -qq purge vigil >/dev/null 2>&1
	! pgrep -x vigil || fail 'it still runs'
	[ "$(property LoadState)" = not-found ] || fail 'the unit is still there'
	gone
	! dpkg -s vigil >/dev/null 2>&1 || fail 'it is still known'
fi
