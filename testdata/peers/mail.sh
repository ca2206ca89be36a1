#!/bin/sh
# mail.sh DIR: Postfix with Dovecot's logins on loopback, all of it in DIR,
# where srv.crt and srv.key must be. It prints "ready" once both answer, and
# stops them when its input ends.
#
# The ports come from the environment:
#   OPEN      no login, STARTTLS on offer, takes mail for mail.test only
#   STARTTLS  login (PLAIN, LOGIN, CRAM-MD5) after STARTTLS
#   LOGIN     the same with LOGIN alone
#   CRAM      the same with CRAM-MD5 alone
#   TLS       login, TLS at once
#   STRICT    like OPEN, but EHLO must name a host with a domain, or an address
#   CLEAR     login without TLS, which is not offered
# The account is vigil, pass-vigil. Mail for anybody at mail.test is delivered
# to DIR/mail/inbox/new.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
# The package need not configure the machine's own mail.
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections >&2
"$here/install.sh" postfix dovecot-core >&2

mkdir -p "$dir/pf" "$dir/queue" "$dir/data" "$dir/mail"
echo 'vigil:{PLAIN}pass-vigil::::::' >"$dir/users"
cat >"$dir/dovecot.conf" <<C
protocols =
listen = 127.0.0.1
base_dir = $dir/run
state_dir = $dir/state
log_path = $dir/dovecot.log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = $dir/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=$dir
}
service auth {
  unix_listener $dir/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
C
cat >"$dir/pf/main.cf" <<C
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file_prefixes = $dir
maillog_file = $dir/postfix.log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.test
mydestination =
mynetworks =
local_recipient_maps =
alias_maps =
alias_database =
virtual_mailbox_domains = mail.test
virtual_mailbox_base = $dir/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:$(id -u nobody)
virtual_gid_maps = static:$(id -g nobody)
default_transport = error:no mail leaves this test
smtpd_peername_lookup = no
smtpd_tls_cert_file = $dir/srv.crt
smtpd_tls_key_file = $dir/srv.key
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = $dir/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
C
cat >"$dir/pf/master.cf" <<C
127.0.0.1:$OPEN inet n - n - - smtpd
  -o smtpd_tls_security_level=may
  -o smtpd_relay_restrictions=reject_unauth_destination
  -o smtpd_recipient_restrictions=
127.0.0.1:$STARTTLS inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
127.0.0.1:$LOGIN inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_mechanism_filter=login
127.0.0.1:$CRAM inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_mechanism_filter=cram-md5
127.0.0.1:$TLS inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
127.0.0.1:$STRICT inet n - n - - smtpd
  -o smtpd_tls_security_level=may
  -o smtpd_helo_required=yes
  -o smtpd_helo_restrictions=reject_invalid_helo_hostname,reject_non_fqdn_helo_hostname
  -o smtpd_relay_restrictions=reject_unauth_destination
  -o smtpd_recipient_restrictions=
127.0.0.1:$CLEAR inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_tls_auth_only=no
  -o smtpd_sasl_auth_enable=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
C
chown nobody:nogroup "$dir/mail"
chown postfix "$dir/data"

dovecot -F -c "$dir/dovecot.conf" >&2 &
dovecot=$!
stop() {
	trap - EXIT
	postfix -c "$dir/pf" stop >&2 || true
	kill "$dovecot" 2>/dev/null || true
	wait
	sed 's/^/postfix: /' "$dir/postfix.log" >&2 || true
}
trap stop EXIT
trap 'exit 1' INT TERM
postfix -c "$dir/pf" start >&2

# Postfix listens once it has started; Dovecot's socket takes a moment.
tries=0
until [ -S "$dir/auth" ]; do
	tries=$((tries + 1))
	[ $tries -lt 200 ] || exit 1
	sleep 0.05
done
echo ready
cat >/dev/null
