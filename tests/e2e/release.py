# SPDX-License-Identifier: Apache-2.0
"""What differs between Debian's releases, in one place: Debian 12 has Dovecot 2.3 and OpenSSL 3.0,
Debian 13 has 2.4 and 3.5. Asked are the programs, not the release."""

import functools
import re
import subprocess
import time


@functools.cache
def version_of(*command):
    """(major, minor) that a program names first."""
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(int(n) for n in re.search(r"(\d+)\.(\d+)", text).groups())


def dovecot():
    return version_of("dovecot", "--version")


def openssl():
    return version_of("openssl", "version")


# ---- Dovecot's configuration ----

# Pieces that both versions have.
PLACE = """base_dir = {dir}/run
state_dir = {dir}/state
protocols = {protocols}
listen = {address}
log_path = {dir}/dovecot.log
info_log_path = {dir}/dovecot.log
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
ssl = yes
"""

AUTH = """auth_failure_delay = 0
auth_mechanisms = {mechanisms}
auth_verbose = yes
{masters}
"""

LIMITS = """mail_max_userip_connections = 0
first_valid_uid = 1
haproxy_trusted_networks = {trusted}
haproxy_timeout = 5s
{extra}
"""

RELAY = """submission_relay_host = 127.0.0.1
submission_relay_port = {relay_port}
submission_max_mail_size = 1 G
"""

DOVECOT_2_3 = """
""" + PLACE + """ssl_cert = <{cert}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
""" + AUTH + """mail_location = maildir:{dir}/mail/%u
""" + LIMITS + """login_log_format_elements = user=<%u> rip=%r lip=%l mpid=%e %c
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {dir}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = scheme=PLAIN username_format=%u {dir}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={dir}/mail/%u allow_all_users=yes
}}
""" + RELAY + """protocol !submission {{
  mail_plugins =
}}
"""

MASTERS_2_3 = """auth_master_user_separator = %
passdb {{
  driver = passwd-file
  master = yes
  pass = yes
  args = scheme=PLAIN username_format=%u {dir}/masters
}}
"""

DOVECOT_2_4 = """
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
""" + PLACE + """ssl_server_cert_file = {cert}
ssl_server_key_file = {key}
ssl_min_protocol = TLSv1.2
auth_allow_cleartext = yes
""" + AUTH + """mail_driver = maildir
mail_path = {dir}/mail/%{{user}}
""" + LIMITS + """login_log_format_elements = user=<%{{user}}> rip=%{{remote_ip}} lip=%{{local_ip}} mpid=%{{mail_pid}} %{{secured}}
oauth2 {{
  introspection_mode = local
  username_attribute = email
  oauth2_local_validation {{
    dict fs {{
      fs posix {{
        prefix = {dir}/keys/
      }}
    }}
  }}
}}
passdb oauth2 {{
  mechanisms_filter = oauthbearer xoauth2
}}
passdb passwd-file {{
  mechanisms_filter = plain login
  default_password_scheme = PLAIN
  passwd_file_path = {dir}/users
}}
userdb static {{
  fields {{
    uid = {uid}
    gid = {gid}
    home = {dir}/mail/%{{user}}
  }}
  userdb_static_allow_all_users = yes
}}
""" + RELAY

MASTERS_2_4 = """auth_master_user_separator = %
passdb masters {{
  driver = passwd-file
  master = yes
  result_success = continue
  default_password_scheme = PLAIN
  passwd_file_path = {dir}/masters
}}
"""

# Many users and wrong passwords from few addresses: no growing delay.
SERVICES = """
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-reader {{
    mode = 0600
  }}
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
"""

SERVICE = """
service {login}-login {{
  chroot =
  {forever}
  client_limit = 2000
  process_min_avail = {ready}
  inet_listener {listener} {{
    port = {plain_port}
    ssl = no
    haproxy = {haproxy}
  }}
  inet_listener {listener}s {{
    port = {tls_port}
    ssl = yes
    haproxy = {haproxy}
  }}
}}
service {login} {{
  process_limit = 500
}}
"""

# LMTP has no login.
LMTP = """
service lmtp {{
  inet_listener lmtp {{
    port = {port}
    haproxy = {haproxy}
  }}
}}
"""


def dovecot_forever():
    """The setting of a login service whose processes serve any number of clients."""
    return "service_count = 0" if dovecot() < (2, 4) else "restart_request_count = unlimited"


def dovecot_service(**values):
    """A protocol with a login: login and listener (Dovecot's names), plain_port, tls_port, ready (processes
    that wait for clients), haproxy."""
    return SERVICE.format(forever=dovecot_forever(), **values)


def dovecot_conf(services, masters, **values):
    """The whole configuration; services: of dovecot_service() and LMTP. Debian's sieve_dir must not be
    looked for."""
    old = dovecot() < (2, 4)
    text = (MASTERS_2_3 if old else MASTERS_2_4).format(**values) if masters else ""
    return (DOVECOT_2_3 if old else DOVECOT_2_4).format(masters=text, **values) + SERVICES.format() + \
        services


def dovecot_logins(log, login):
    """(user, client address) of each successful login in a log."""
    return re.findall(r"%s-login: (?:Info: )?(?:Login|Logged in): user=<([^>]*)>,? rip=([^,\s]+)" % login,
                      log)


# ---- OpenSSL's commands ----

def validity(days):
    """Options of `openssl x509` for a certificate that is valid for so many days, or ended that long ago:
    since 3.4 days cannot be negative, but dates can be given."""
    if days > 0 or openssl() < (3, 4):
        return ["-days", str(days)]
    start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + d * 86400))
                  for d in (2 * days, days))
    return ["-not_before", start, "-not_after", end]


# ---- Python's libraries ----

def websocket_headers(headers):
    """The arguments of websockets.connect() that add header fields: renamed in version 14."""
    import websockets.version
    new = int(websockets.version.version.split(".")[0]) >= 14
    return {"additional_headers" if new else "extra_headers": headers}
