#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building and testing need, and only those that are missing.
set -eu

packages="gcc make clang clang-format llvm libclang-rt-14-dev libc6-dev pkg-config git ca-certificates
bpftool libbpf-dev libxdp-dev libssl-dev openssl libsqlite3-dev sqlite3 libc-ares-dev libjansson-dev
libnl-3-dev libnl-route-3-dev libpcre2-dev libseccomp-dev libcmocka-dev python3 python3-pytest curl dovecot-imapd
isync golang-github-burntsushi-toml-dev procps passwd libelf-dev zlib1g-dev util-linux
qemu-system-x86 busybox-static kmod xz-utils gnutls-bin libnss3-tools iproute2
libpq-dev libhiredis-dev postgresql redis-server prometheus tmux nginx python3-aiohttp
python3-websockets postfix dovecot-pop3d dovecot-managesieved dovecot-submissiond dovecot-lmtpd dovecot-sieve
swaks libnet-ssleay-perl msmtp mpop fetchmail getmail6 offlineimap3 neomutt sieve-connect
haproxy libnginx-mod-mail dovecot-pgsql perdition strace fail2ban pgbouncer"

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

# The packages' own services are not wanted: the tests start their servers themselves.
guard=/usr/sbin/policy-rc.d
made_guard=""
if [ ! -e "$guard" ]; then
	printf '#!/bin/sh\nexit 101\n' > "$guard"
	chmod 755 "$guard"
	made_guard=yes
fi
trap '[ -z "$made_guard" ] || rm -f "$guard"' EXIT

apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
# Its package enables the service where no service manager runs, too.
case " $missing " in
*" fail2ban "*) systemctl disable fail2ban.service >/dev/null 2>&1 || true ;;
esac
if [ -n "$made_guard" ] && [ -d /run/systemd/system ]; then
	systemctl disable --now dovecot.service dovecot.socket >/dev/null 2>&1 || true
	for service in haproxy perdition; do
		case " $missing " in
		*" $service "*) systemctl disable "$service" >/dev/null 2>&1 || true ;;
		esac
	done
fi
