#!/bin/sh
# install.sh PACKAGE...: installs those of the Debian packages that are missing,
# without starting what is in them.
set -eu
missing=
for package; do
	dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -qx 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
# Test programs run side by side; apt runs alone.
exec 9>/tmp/vigil-peers.lock
flock 9
# In run level 1 a package starts no server of its own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get -qq update
apt-get -qq install -y --no-install-recommends $missing
