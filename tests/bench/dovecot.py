# SPDX-License-Identifier: Apache-2.0
"""Dovecot as a proxy for logins, of both versions: 2.3 (Debian 12) and 2.4 (Debian 13)."""

import os

import release

PLACE = """base_dir = {dir}/run
state_dir = {dir}/state
protocols = imap submission
listen = {router}
log_path = /dev/null
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
default_vsz_limit = {no_limit}
ssl = {ssl}
"""

TLS = """ssl_min_protocol = TLSv1.3
ssl_cipher_suites = {suite}
ssl_curve_list = {curve}
auth_mechanisms = plain
"""

# Of the two listeners one has port 0, which turns it off.
LOGIN_SERVICE = """service {p}-login {{{{
  chroot =
  {{forever}}
  process_min_avail = 1
  process_limit = 1
  client_limit = {{most}}
  inet_listener {p} {{{{
    port = {{{p}_plain}}
    ssl = no
  }}}}
  inet_listener {p}s {{{{
    port = {{{p}_tls}}
    ssl = yes
  }}}}
}}}}
"""

SERVICES = "".join(LOGIN_SERVICE.format(p=p) for p in ("imap", "submission")) + """service auth {{
  client_limit = 20000
}}
service anvil {{
  chroot =
  client_limit = 20000
}}
"""

OLD = PLACE + """ssl_cert = <{cert}
ssl_key = <{key}
disable_plaintext_auth = no
auth_cache_size = 16 M
""" + TLS + """{passdb}
""" + SERVICES

OLD_STATIC = """passdb {{
  driver = static
  args = proxy=y host={node} port=%{{if;%s;eq;imap;{imap_node};{submission_node}}} \\
    nopassword=y{node_ssl}
}}"""

OLD_SQL_CONF = """driver = pgsql
connect = {sql}
password_query = SELECT NULL AS password, 'y' AS nopassword, 'y' AS proxy, '{node}' AS host, \\
  '{imap_node}' AS port, 'any-cert' AS "ssl" FROM account_nodes WHERE identifier = '%u'
"""

OLD_SQL = """passdb {{
  driver = sql
  args = {dir}/sql.conf
}}"""

NEW = """dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
""" + PLACE + """ssl_server_cert_file = {cert}
ssl_server_key_file = {key}
auth_allow_cleartext = yes
auth_cache_size = 16 M
""" + TLS + """{passdb}
""" + SERVICES

NEW_STATIC = """passdb static {{
  fields {{
    proxy = y
    host = {node}
    port = %{{protocol | if('eq', 'imap', '{imap_node}', '{submission_node}')}}
    nopassword = y{node_ssl}
  }}
}}"""

NEW_SQL = """sql_driver = pgsql
pgsql {sql_host} {{
  parameters {{
{sql_parameters}
  }}
}}
passdb sql {{
  query = SELECT NULL AS password, 'y' AS nopassword, 'y' AS proxy, '{node}' AS host, \\
    '{imap_node}' AS port, 'any-cert' AS "ssl" FROM account_nodes WHERE identifier = '%{{user}}'
}}"""


def old(f):
    node_ssl = " ssl=any-cert" if f["node_tls"] else ""
    if "sql" not in f:
        return OLD.format(**f, passdb=OLD_STATIC.format(**f, node_ssl=node_ssl))
    with open(f["dir"] + "/sql.conf", "w", encoding="utf-8") as sql:
        sql.write(OLD_SQL_CONF.format(**f))
    return OLD.format(**f, passdb=OLD_SQL.format(**f))


def new(f):
    if "sql" not in f:
        node_ssl = "\n    ssl = any-cert" if f["node_tls"] else ""
        return NEW.format(**f, passdb=NEW_STATIC.format(**f, node_ssl=node_ssl))
    words = dict(word.split("=", 1) for word in f["sql"].split())
    host = words.pop("host")
    parameters = "\n".join("    %s = %s" % word for word in words.items())
    return NEW.format(**f, passdb=NEW_SQL.format(**f, sql_host=host, sql_parameters=parameters))


def proxy(f):
    """The configuration, from the fields of peers.Peer."""
    for sub in ("run", "state"):
        os.makedirs(f["dir"] + "/" + sub)
    tls, is_old = f["client_tls"], release.dovecot() < (2, 4)
    ports = {"%s_%s" % (p, leg): f[p] if (leg == "tls") == tls else 0
             for p in ("imap", "submission") for leg in ("tls", "plain")}
    f = dict(f, **ports, ssl="yes" if tls else "no", no_limit="0" if is_old else "unlimited",
             forever=release.dovecot_forever())
    return (old if is_old else new)(f)
