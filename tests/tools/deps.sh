#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that are needed, and only those that are missing:
#   deps.sh build   to build
#   deps.sh demo    and to run the demo
#   deps.sh         and to run the tests
#   deps.sh java    Java, which make test-peers takes where it is
# The lists are the same in Debian 12 and 13. No service starts while packages are installed, and none
# that they bring is enabled afterwards: tests and demo start their servers themselves.
set -eu

build="gcc make clang llvm libc6-dev pkg-config bpftool libbpf-dev libxdp-dev libelf-dev zlib1g-dev libssl-dev
libsqlite3-dev libc-ares-dev libjansson-dev libnl-3-dev libnl-route-3-dev libpcre2-dev libseccomp-dev
libpq-dev libhiredis-dev"
demo="python3 curl openssl passwd dovecot-imapd"
tests="git ca-certificates clang-format-19 clang-tidy-19 cppcheck libclang-rt-dev libcmocka-dev cmake g++ sqlite3 python3-pytest
isync golang-github-burntsushi-toml-dev procps util-linux debootstrap
qemu-system-x86 busybox-static kmod xz-utils gnutls-bin libnss3-tools iproute2
postgresql redis-server prometheus tmux nginx python3-aiohttp
python3-websockets postfix dovecot-pop3d dovecot-managesieved dovecot-submissiond dovecot-lmtpd dovecot-sieve
swaks libnet-ssleay-perl msmtp mpop fetchmail getmail6 offlineimap3 neomutt sieve-connect
universal-ctags haproxy wrk libnginx-mod-mail dovecot-pgsql perdition strace fail2ban pgbouncer
libgnutls28-dev libnss3-dev"
java="default-jdk-headless"

case "${1:-tests}" in
build) packages="$build" ;;
demo) packages="$build $demo" ;;
tests) packages="$build $demo $tests" ;;
java) packages="$java" ;;
*)
	echo "usage: deps.sh [build|demo|tests|java]" >&2
	exit 2
	;;
esac

missing=""
for package in $packages; do
	case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
	"install ok installed") ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps: as root: apt-get install$missing" >&2
	exit 1
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive

# Links by which a service is started: of systemd, and of the rc directories.
enabled() {
	find /etc/systemd/system /etc/rc[S2345].d \( -path '*.wants/*' -o -path '*.requires/*' \
		-o -name 'S[0-9]*' -o -name '*.service' -o -name '*.socket' \) -type l 2>/dev/null | sort
}

# Takes away the links that are new; to dpkg it is then a service that the administrator disabled.
disable_new() {
	enabled >"$list.now"
	comm -13 "$list" "$list.now" | while read -r link; do
		name=${link##*/}
		case "$link" in
		/etc/rc*) update-rc.d "${name#S[0-9][0-9]}" disable ;;
		*) deb-systemd-helper disable "$name" ;;
		esac >/dev/null 2>&1 || true
		case "$link" in
		/etc/rc*) ;;
		*) rm -f "$link" ;;
		esac
	done
}

# What a unit of the installed packages would still do at once is kept from it by policy-rc.d.
guard=/usr/sbin/policy-rc.d
made_guard=""
list=$(mktemp)
finish() {
	[ -z "$made_guard" ] || rm -f "$guard"
	disable_new
	rm -f "$list" "$list.now"
}
enabled >"$list"
trap finish EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$guard" ]; then
	made_guard=yes
	printf '#!/bin/sh\nexit 101\n' >"$guard"
	chmod 755 "$guard"
fi

if ! apt-get update -qq; then
	echo "deps: apt-get update failed: no network, or apt's sources are wrong" >&2
	exit 1
fi
# shellcheck disable=SC2086
if ! apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
	echo "deps: apt-get install failed" >&2
	exit 1
fi
